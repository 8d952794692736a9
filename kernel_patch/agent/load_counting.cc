// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/load_counting.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <atomic>
#include <cerrno>

#include "kernel_patch/agent/accepted_nodes.h"
#include "kernel_patch/agent/bpf_failure.h"
#include "load.skel.h"

namespace crab {
namespace {

constexpr char kLinkPin[] = "load";
constexpr const char* kPinnedMaps[] = {"load_backends", "loads", "load_settings"};

// Of the program that counts now, or did last; 0 if none ever has.
std::uint64_t generation_now(const PinDirectory& directory) {
  if (!directory.has("load_settings")) return 0;
  const SharedMap<crab_load_settings> settings(directory, "load_settings", 1);
  return settings[0].generation;
}

}  // namespace

LoadCounting::LoadCounting(const PinDirectory& directory, std::uint64_t netns_cookie,
                           bool has_echoes)
    : program_(load_bpf__open(), load_bpf__destroy) {
  load(directory, netns_cookie, has_echoes);
  maps_ = std::make_unique<LoadMaps>(directory);
  attach(directory);
  // An agent that was killed has not looked at these.
  for (std::uint32_t i = 0; i < CRAB_MAX_WATCHED; ++i) {
    std::atomic_ref(maps_->load(i).changed).store(0);
  }
}

LoadCounting::~LoadCounting() = default;

int LoadCounting::events_fd() const { return bpf_map__fd(program_->maps.load_events); }

void LoadCounting::load(const PinDirectory& directory, std::uint64_t netns_cookie,
                        bool has_echoes) {
  if (!program_) throw bpf_failure("cannot open the program that counts connections", -errno);
  program_->rodata->netns_cookie = netns_cookie;
  program_->rodata->generation = generation_now(directory) + 1;
  for (const char* name : kPinnedMaps) {
    bpf_map* map = bpf_object__find_map_by_name(program_->obj, name);
    bpf_map__set_pin_path(map, directory.pin(name).c_str());
  }
  UniqueFd echoes;
  if (has_echoes) {
    echoes = open_pinned_map(directory, "echoes");
    bpf_map__reuse_fd(program_->maps.echoes, echoes.get());
  } else {
    bpf_map__set_autocreate(program_->maps.echoes, false);
  }
  program_->rodata->has_echoes = has_echoes ? 1 : 0;
  forget_bpf_complaints();
  if (const int err = load_bpf__load(program_.get()); err != 0) {
    throw bpf_failure("cannot load the program that counts connections", err);
  }
}

// The new one is attached idle; one store then makes it the one that counts, so that no connection
// is counted twice or not at all but for one that changes at that very instant, which the audit
// finds.
void LoadCounting::attach(const PinDirectory& directory) const {
  bpf_link* link = bpf_program__attach(program_->progs.crab_count);
  if (link == nullptr) throw bpf_failure("cannot attach to inet_sock_set_state", -errno);
  std::atomic_ref(maps_->settings().generation).store(program_->rodata->generation);
  directory.unpin(kLinkPin);
  const int err = bpf_link__pin(link, directory.pin(kLinkPin).c_str());
  bpf_link__destroy(link);
  if (err != 0) throw bpf_failure("cannot pin the program that counts connections", err);
}

void LoadCounting::remove(const PinDirectory& directory) {
  directory.unpin(kLinkPin);
  for (const char* name : kPinnedMaps) directory.unpin(name);
  AcceptedNodes::remove(directory);
}

}  // namespace crab
