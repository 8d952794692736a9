// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/endpoint_record.h"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/session_status.h"
#include "kernel_patch/agent/shared_map.h"

namespace crab {
namespace {

constexpr char kRecordPin[] = "endpoint";
constexpr char kEbpfPin[] = "settings";  // every eBPF endpoint has it, older ones no record

// Of an endpoint without a record: an older agent's, or one that did not become whole.
EndpointRecord ebpf_record(const PinDirectory& directory) {
  const UniqueFd map = open_pinned_map(directory, kEbpfPin);
  const __u32 only = 0;
  crab_settings settings{};
  bpf_map_lookup_elem(map.get(), &only, &settings);
  return {.kind = EndpointKind::Ebpf, .netns_cookie = settings.netns_cookie, .roles = 0, .why = {}};
}

}  // namespace

bool ensure_array(const PinDirectory& directory, const char* name, std::size_t element_bytes,
                  std::size_t n) {
  if (directory.has(name)) return false;
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = BPF_F_MMAPABLE;
  const UniqueFd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(std::uint32_t),
                                    static_cast<std::uint32_t>(element_bytes),
                                    static_cast<std::uint32_t>(n), &options));
  if (!map || bpf_obj_pin(map.get(), directory.pin(name).c_str()) != 0) {
    throw AgentError(
        fmt::format("cannot make the map {}: {}; it needs a kernel with "
                    "CONFIG_BPF_SYSCALL",
                    name, std::generic_category().message(errno)));
  }
  return true;
}

std::optional<EndpointRecord> read_record(const PinDirectory& directory) {
  if (!directory.has(kRecordPin)) {
    if (directory.has(kEbpfPin)) return ebpf_record(directory);
    return std::nullopt;
  }
  const SharedMap<crab_endpoint> map(directory, kRecordPin, 1);
  const crab_endpoint& pinned = map[0];
  if (pinned.kind < CRAB_ENDPOINT_EBPF || pinned.kind > CRAB_ENDPOINT_KERNEL) return std::nullopt;
  return EndpointRecord{static_cast<EndpointKind>(pinned.kind), pinned.netns_cookie, pinned.roles,
                        std::string(pinned.why, strnlen(pinned.why, sizeof pinned.why))};
}

void write_record(const PinDirectory& directory, const EndpointRecord& record) {
  ensure_array(directory, kRecordPin, sizeof(crab_endpoint), 1);
  const SharedMap<crab_endpoint> map(directory, kRecordPin, 1);
  map[0].netns_cookie = record.netns_cookie;
  map[0].roles = record.roles;
  set_text(map[0].why, record.why);
  map[0].kind = static_cast<std::uint32_t>(record.kind);
}

void forget_record(const PinDirectory& directory) { directory.unpin(kRecordPin); }

}  // namespace crab
