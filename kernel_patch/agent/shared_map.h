// SPDX-License-Identifier: Apache-2.0
// A pinned BPF array that is mapped into this process: its elements are plain memory, shared with
// the BPF programs. Words that both sides change are for std::atomic_ref.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/bpffs.h"
#include "kernel_patch/agent/unique_fd.h"

namespace crab {

// A pinned map. Throws AgentError.
UniqueFd open_pinned_map(const PinDirectory& directory, const std::string& name);

template <typename Element>
class SharedMap {
 public:
  static_assert(sizeof(Element) % 8 == 0, "elements are padded to eight bytes");

  // n elements at most: as many as the map has. Throws AgentError.
  SharedMap(const PinDirectory& directory, const std::string& name, std::size_t n)
      : bytes_(n * sizeof(Element)) {
    const UniqueFd fd = open_pinned_map(directory, name);
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (memory == MAP_FAILED) {
      throw AgentError("cannot map " + directory.pin(name) + ": " +
                       std::generic_category().message(errno));
    }
    elements_ = static_cast<Element*>(memory);
  }
  SharedMap(SharedMap&& other) noexcept
      : elements_(std::exchange(other.elements_, nullptr)), bytes_(other.bytes_) {}
  ~SharedMap() {
    if (elements_ != nullptr) munmap(elements_, bytes_);
  }

  Element& operator[](std::size_t i) const { return elements_[i]; }

 private:
  Element* elements_ = nullptr;
  std::size_t bytes_;
};

}  // namespace crab
