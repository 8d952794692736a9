// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/kernel_maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "kernel_patch/agent/agent_error.h"

namespace crab {
namespace {

UniqueFd open_map(const PinDirectory& directory, const char* name) {
  UniqueFd fd(bpf_obj_get(directory.pin(name).c_str()));
  if (!fd) {
    throw AgentError(
        fmt::format("{}: {}", directory.pin(name), std::generic_category().message(errno)));
  }
  return fd;
}

template <typename Key, typename Value>
void put(const UniqueFd& map, const Key& key, const Value& value, const char* what) {
  if (bpf_map_update_elem(map.get(), &key, &value, BPF_ANY) != 0) {
    throw AgentError(fmt::format("cannot write the map of {}: {}", what,
                                 std::generic_category().message(errno)));
  }
}

template <typename Key>
std::vector<Key> keys_of(const UniqueFd& map) {
  std::vector<Key> keys;
  Key key{};
  for (int err = bpf_map_get_next_key(map.get(), nullptr, &key); err == 0;
       err = bpf_map_get_next_key(map.get(), &key, &key)) {
    keys.push_back(key);
  }
  return keys;
}

template <typename Key>
std::uint64_t n_keys_of(const UniqueFd& map) {
  std::uint64_t n = 0;
  Key key{};
  for (int err = bpf_map_get_next_key(map.get(), nullptr, &key); err == 0;
       err = bpf_map_get_next_key(map.get(), &key, &key)) {
    ++n;
  }
  return n;
}

template <typename Key, typename Keys>
void erase_all_but(const UniqueFd& map, const Keys& wanted) {
  for (const Key& key : keys_of<Key>(map)) {
    bool keep = false;
    for (const Key& other : wanted) keep = keep || std::memcmp(&key, &other, sizeof key) == 0;
    if (!keep) bpf_map_delete_elem(map.get(), &key);
  }
}

struct CounterDescription {
  const char* name;
  const char* meaning;
};
constexpr CounterDescription kCounterDescriptions[] = {
#define CRAB_COUNTER_DESCRIPTION(name, meaning) {#name, meaning},
    CRAB_COUNTERS(CRAB_COUNTER_DESCRIPTION)
#undef CRAB_COUNTER_DESCRIPTION
};

constexpr __u32 kOnly = 0;  // index of an array map's one element

}  // namespace

KernelMaps::KernelMaps(const PinDirectory& directory)
    : services_(open_map(directory, "services")),
      pending_(open_map(directory, "pending")),
      flows_(open_map(directory, "flows")),
      prefixes_(open_map(directory, "prefixes")),
      echoes_(open_map(directory, "echoes")),
      settings_(open_map(directory, "settings")),
      counters_(open_map(directory, "counters")) {}

void KernelMaps::apply(const EndpointConfig& config) const {
  crab_settings now = settings();
  const __u8 present = 1;
  if (config.prefixes.empty() && now.n_prefixes != 0) {
    now.n_prefixes = 0;
    set_settings(now);
  }
  for (const crab_prefix& prefix : config.prefixes) put(prefixes_, prefix, present, "prefixes");
  erase_all_but<crab_prefix>(prefixes_, config.prefixes);
  now.n_prefixes = static_cast<__u32>(config.prefixes.size());
  set_settings(now);

  // Gone before new ones come, so that a full exchange of the list fits.
  std::vector<crab_service_key> wanted;
  for (const auto& [key, terms] : config.services) wanted.push_back(key);
  erase_all_but<crab_service_key>(services_, wanted);
  for (const auto& [key, terms] : config.services) put(services_, key, terms, "services");
}

void KernelMaps::clear_services() const {
  erase_all_but<crab_service_key>(services_, std::vector<crab_service_key>());
}

crab_settings KernelMaps::settings() const {
  crab_settings settings{};
  bpf_map_lookup_elem(settings_.get(), &kOnly, &settings);
  return settings;
}

void KernelMaps::set_settings(const crab_settings& settings) const {
  put(settings_, kOnly, settings, "settings");
}

std::vector<std::pair<crab_service_key, crab_service>> KernelMaps::services() const {
  std::vector<std::pair<crab_service_key, crab_service>> result;
  for (const crab_service_key& key : keys_of<crab_service_key>(services_)) {
    crab_service terms{};
    if (bpf_map_lookup_elem(services_.get(), &key, &terms) == 0) result.emplace_back(key, terms);
  }
  return result;
}

std::vector<crab_prefix> KernelMaps::prefixes() const { return keys_of<crab_prefix>(prefixes_); }

std::vector<CounterReading> KernelMaps::counters() const {
  std::vector<CounterReading> readings;
  std::vector<std::uint64_t> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
  for (__u32 i = 0; i < CRAB_N_COUNTERS; ++i) {
    CounterReading& reading = readings.emplace_back();
    reading.name = kCounterDescriptions[i].name;
    reading.meaning = kCounterDescriptions[i].meaning;
    if (bpf_map_lookup_elem(counters_.get(), &i, per_cpu.data()) != 0) continue;
    for (const std::uint64_t value : per_cpu) reading.value += value;
  }
  return readings;
}

EndpointReport::Flows KernelMaps::flow_totals() const {
  EndpointReport::Flows totals;
  for_each_flow([&totals](const crab_tuple&, const crab_flow& flow) {
    ++(flow.expires_ns == 0 ? totals.n_open : totals.n_closing);
    return true;
  });
  return totals;
}

std::uint64_t KernelMaps::n_pending() const { return n_keys_of<crab_pending_key>(pending_); }

std::uint64_t KernelMaps::n_echoes() const { return n_keys_of<crab_tuple>(echoes_); }

void KernelMaps::for_each_flow(
    const std::function<bool(const crab_tuple&, const crab_flow&)>& visit) const {
  for (const crab_tuple& key : keys_of<crab_tuple>(flows_)) {
    crab_flow flow{};
    if (bpf_map_lookup_elem(flows_.get(), &key, &flow) == 0 && !visit(key, flow)) return;
  }
}

}  // namespace crab
