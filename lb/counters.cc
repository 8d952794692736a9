// SPDX-License-Identifier: Apache-2.0
#include "lb/counters.h"

#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <functional>
#include <system_error>

namespace crab {

static_assert(sizeof(WorkerTotals) % sizeof(std::uint64_t) == 0);

namespace {

using Words = std::array<std::uint64_t, sizeof(WorkerTotals) / sizeof(std::uint64_t)>;

template <typename Combine>
WorkerTotals combine(const WorkerTotals& a, const WorkerTotals& b, Combine combine_words) {
  auto words = std::bit_cast<Words>(a);
  const auto other = std::bit_cast<Words>(b);
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = combine_words(words[i], other[i]);
  return std::bit_cast<WorkerTotals>(words);
}

}  // namespace

WorkerTotals& WorkerTotals::operator+=(const WorkerTotals& other) {
  return *this = combine(*this, other, std::plus<>());
}

WorkerTotals& WorkerTotals::operator-=(const WorkerTotals& other) {
  return *this = combine(*this, other, std::minus<>());
}

WorkerCounters::WorkerCounters()
    : assigned_by_service_(map_cells(kMaxServices)),
      refused_by_service_(map_cells(kMaxServices)),
      assigned_by_slot_(map_cells(kMaxLoadSlots)) {}

WorkerCounters::Cells WorkerCounters::map_cells(std::size_t n_cells) {
  void* p = mmap(nullptr, n_cells * sizeof(Cell), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap of counters");
  return Cells(static_cast<Cell*>(p), Unmap{n_cells});
}

void WorkerCounters::Unmap::operator()(Cell* cells) const { munmap(cells, n_cells * sizeof(Cell)); }

// A sequence lock with one writer (Boehm, "Can seqlocks get along with programming language
// memory models?", MSPC 2012, section 4).
void WorkerCounters::publish() {
  const auto words = std::bit_cast<Words>(pending_);
  const std::uint32_t sequence = sequence_.load(std::memory_order_relaxed);
  sequence_.store(sequence + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (std::size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_relaxed);
  sequence_.store(sequence + 2, std::memory_order_release);
}

WorkerTotals WorkerCounters::read() const {
  Words words;
  for (;;) {
    const std::uint32_t before = sequence_.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    const std::uint32_t after = sequence_.load(std::memory_order_relaxed);
    if (before == after && before % 2 == 0) return std::bit_cast<WorkerTotals>(words);
  }
}

WorkerTotals sum(std::span<const std::unique_ptr<WorkerCounters>> workers) {
  WorkerTotals total;
  for (const auto& worker : workers) total += worker->read();
  return total;
}

}  // namespace crab
