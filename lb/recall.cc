// SPDX-License-Identifier: Apache-2.0
#include "lb/recall.h"

#include <nmmintrin.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace crab {
namespace {

__extension__ using Wide = unsigned __int128;

// The folded product of wyhash (Wang Yi): both halves of a 64x64 bit multiplication.
std::uint64_t fold_multiply(std::uint64_t a, std::uint64_t b) {
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

void RecentSyns::Unmap::operator()(Bucket* buckets) const { munmap(buckets, n_bytes); }

RecentSyns::RecentSyns(std::uint32_t n_entries, std::uint64_t tsc_hz) {
  n_entries = std::clamp(n_entries, kCellsPerBucket, kMaxEntries);
  const std::uint64_t n_buckets = std::bit_ceil(n_entries) / kCellsPerBucket;
  const std::size_t n_bytes = n_buckets * sizeof(Bucket);
  void* memory = mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // One random access each packet: without huge pages most would miss the TLB too. Best effort.
  madvise(memory, n_bytes, MADV_HUGEPAGE);
  std::memset(memory, 0, n_bytes);  // page faults now, and not on the packets' way
  buckets_ = {static_cast<Bucket*>(memory), Unmap{n_bytes}};
  bucket_mask_ = n_buckets - 1;

  tick_shift_ = static_cast<unsigned>(std::bit_width(tsc_hz / 64));
  const double ticks_per_second =
      static_cast<double>(tsc_hz) / static_cast<double>(std::uint64_t{1} << tick_shift_);
  promised_ticks_ = static_cast<std::uint16_t>(kPromisedSeconds * ticks_per_second + 1);
  lifetime_ticks_ = static_cast<std::uint16_t>(kLifetimeSeconds * ticks_per_second);
  if (getrandom(secrets_.data(), sizeof secrets_, 0) != sizeof secrets_) {
    throw std::system_error(errno, std::generic_category(), "getrandom");
  }
  for (auto& secret : secrets_) secret |= 1;
}

// The ISN follows the ports in a TCP header, and the destination the source in an IP header: two
// loads for IPv4, five for IPv6.
std::uint64_t RecentSyns::hash_flow(const Packet& packet) const {
  const std::uint8_t* addresses = packet.source_address();
  const auto ports_and_isn = load<std::uint64_t>(packet.l4());
  std::uint64_t h;
  if (packet.family == Family::Ipv4) {
    h = load<std::uint64_t>(addresses) ^ secrets_[0];
  } else {
    h = fold_multiply(load<std::uint64_t>(addresses) ^ secrets_[0],
                      load<std::uint64_t>(addresses + 8) ^ secrets_[1]) ^
        fold_multiply(load<std::uint64_t>(addresses + 16) ^ secrets_[2],
                      load<std::uint64_t>(addresses + 24) ^ secrets_[3]);
  }
  return fold_multiply(fold_multiply(h, ports_and_isn ^ secrets_[4]), secrets_[5]);
}

void RecentSyns::move_to_front(Bucket& bucket, unsigned position, Cell cell) {
  std::memmove(bucket.cells + 1, bucket.cells, position * sizeof(Cell));
  bucket.cells[0] = cell;
}

// SSE4.1, two cells a register: the whole bucket in four compares.
unsigned RecentSyns::find(const Bucket& bucket, std::uint64_t hash) {
  const __m128i wanted = _mm_set1_epi64x(static_cast<long long>(hash));
  const auto* cells = reinterpret_cast<const __m128i*>(bucket.cells);
  const auto equal = [&](unsigned pair) {
    const __m128i difference = _mm_xor_si128(_mm_load_si128(cells + pair), wanted);
    return _mm_cmpeq_epi64(_mm_srli_epi64(difference, kFingerprintShift), _mm_setzero_si128());
  };
  const __m128i low = _mm_packs_epi32(equal(0), equal(1));
  const __m128i high = _mm_packs_epi32(equal(2), equal(3));
  // Two bits a cell.
  const auto mask = static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(low, high)));
  return mask == 0 ? kCellsPerBucket : static_cast<unsigned>(__builtin_ctz(mask)) / 2;
}

void RecentSyns::push_front(Bucket& bucket, Cell cell) {
  auto* cells = reinterpret_cast<__m128i*>(bucket.cells);
  const __m128i a = _mm_load_si128(cells);
  const __m128i b = _mm_load_si128(cells + 1);
  const __m128i c = _mm_load_si128(cells + 2);
  const __m128i d = _mm_load_si128(cells + 3);
  constexpr int kUpper = 8;
  _mm_store_si128(cells, _mm_unpacklo_epi64(_mm_cvtsi64_si128(static_cast<long long>(cell)), a));
  _mm_store_si128(cells + 1, _mm_alignr_epi8(b, a, kUpper));
  _mm_store_si128(cells + 2, _mm_alignr_epi8(c, b, kUpper));
  _mm_store_si128(cells + 3, _mm_alignr_epi8(d, c, kUpper));
}

void RecentSyns::recall(const Burst& burst, const Snapshot& snapshot, std::uint64_t now_tsc,
                        Unplaced& unplaced, WorkerTotals& totals) {
  for (const auto i : burst.live()) {
    burst[i].flow_hash = hash_flow(burst[i]);
    __builtin_prefetch(&bucket_of(burst[i].flow_hash), 1);
  }
  const auto tick = static_cast<std::uint16_t>(now_tsc >> tick_shift_);
  for (const auto i : burst.live()) recall_one(burst, i, snapshot, tick, unplaced, totals);
}

void RecentSyns::recall_one(const Burst& burst, std::uint8_t i, const Snapshot& snapshot,
                            std::uint16_t tick, Unplaced& unplaced, WorkerTotals& totals) {
  Packet& packet = burst[i];
  const std::uint64_t hash = packet.flow_hash;
  Bucket& bucket = bucket_of(hash);
  const unsigned position = find(bucket, hash);
  const auto age = [&](Cell cell) {
    return static_cast<std::uint16_t>(tick - static_cast<std::uint16_t>(cell));
  };
  if (position < kCellsPerBucket && bucket.cells[position] != 0 &&
      age(bucket.cells[position]) <= lifetime_ticks_) {
    const std::uint32_t slot = slot_of(bucket.cells[position]);
    if ((slot & kPending) != 0) {
      const auto original = static_cast<std::uint8_t>(slot);
      if (burst[original].flow_hash == hash && burst[original].service == packet.service) {
        unplaced.duplicates[unplaced.n_duplicates++] = {i, original};
        return;
      }
    } else if (const auto backend = snapshot.service(packet.service).find_slot(slot)) {
      packet.backend = *backend;
      move_to_front(bucket, position, make_cell(hash, slot, tick));
      ++totals.n_recalled;
      return;
    } else {
      ++totals.n_recall_stale;
    }
  }
  const Cell taken = make_cell(hash, kPending | i, tick);
  if (position < kCellsPerBucket) {
    move_to_front(bucket, position, taken);
  } else {
    const Cell evicted = bucket.cells[kCellsPerBucket - 1];
    totals.n_recall_evicted += evicted != 0 && age(evicted) < promised_ticks_ ? 1U : 0U;
    push_front(bucket, taken);
  }
  unplaced.packets[unplaced.n++] = i;
}

void RecentSyns::remember(const Burst& burst, const Snapshot& snapshot, const Unplaced& unplaced) {
  for (const auto i : unplaced.indices()) {
    const Packet& packet = burst[i];
    const Cell pending = (Cell{kPending} | i) << kSlotShift;
    for (Cell& cell : bucket_of(packet.flow_hash).cells) {
      if (((cell ^ packet.flow_hash) >> kFingerprintShift) != 0 ||
          (cell & Cell{kSlotMask} << kSlotShift) != pending) {
        continue;
      }
      if (packet.verdict == Verdict::Redirected) {
        const auto slot = snapshot.service(packet.service).backends[packet.backend].load_slot;
        cell = make_cell(packet.flow_hash, slot, static_cast<std::uint16_t>(cell));
      } else {
        cell = 0;
      }
      break;
    }
  }
  for (unsigned k = 0; k < unplaced.n_duplicates; ++k) {
    const auto [packet, original] = unplaced.duplicates[k];
    burst[packet].verdict = burst[original].verdict;
    burst[packet].backend = burst[original].backend;
  }
}

}  // namespace crab
