// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/status.h"

#include <fmt/format.h>

#include <iterator>

#include "kernel_patch/agent/mapped_address.h"
#include "kernel_patch/agent/tc_attachment.h"

namespace crab {
namespace {

std::string form_name(const crab_service& terms) {
  switch (terms.form) {
    case CRAB_OPT_LEN_ADDR:
      return "address";
    case CRAB_OPT_LEN_TAG:
      return "tag";
    case CRAB_OPT_LEN_ADDR_TAG:
      return "address+tag";
    default:
      return "paper";
  }
}

std::string prefix_text(const crab_prefix& prefix) {
  const IpAddress address = from_mapped(prefix.addr);
  return fmt::format("{}/{}", address.to_string(),
                     prefix.length - (address.is_v4() ? kMappedPrefixBits : 0));
}

std::string backend_text(const crab_flow& flow) {
  const crab_target& target = flow.target[flow.state & CRAB_FLOW_CURRENT];
  return endpoint_text(target.addr, target.port);
}

std::string quoted(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& word : words) {
    fmt::format_to(std::back_inserter(list), "{}\"{}\"", list.empty() ? "" : ", ", word);
  }
  return list;
}

}  // namespace

Status read_status(const std::string& pin_directory, bool with_flows) {
  const PinDirectory directory = PinDirectory::of_installed(pin_directory);
  const KernelMaps maps(directory);
  Status status;
  for (const Interface& interface : all_interfaces()) {
    if (is_attached(interface)) status.interfaces.push_back(interface.name);
  }
  status.offers = directory.has("socket");
  status.services = maps.services();
  status.prefixes = maps.prefixes();
  status.flows = maps.flow_totals();
  status.n_pending = maps.n_pending();
  status.n_echoes = maps.n_echoes();
  status.counters = maps.counters();
  if (with_flows) {
    maps.for_each_flow([&status](const crab_tuple& tuple, const crab_flow& flow) {
      status.flow_list.emplace_back(tuple, flow);
      return true;
    });
  }
  return status;
}

std::string status_table(const Status& status) {
  std::string text;
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "interfaces  {}\n", fmt::join(status.interfaces, ", "));
  fmt::format_to(out, "offers      {}\n", status.offers ? "yes" : "no");
  for (const auto& [key, terms] : status.services) {
    fmt::format_to(out, "service     {}  form {}{}\n", endpoint_text(key.vip, key.port),
                   form_name(terms), terms.n_keys > 0 ? ", keyed" : "");
  }
  for (const crab_prefix& prefix : status.prefixes) {
    fmt::format_to(out, "allowed     {}\n", prefix_text(prefix));
  }
  fmt::format_to(out, "flows       {} open, {} closing\npending     {}\nechoes      {}\n",
                 status.flows.n_open, status.flows.n_closing, status.n_pending, status.n_echoes);
  for (const auto& [tuple, flow] : status.flow_list) {
    fmt::format_to(out, "flow        {} -> {} at {}{}\n", endpoint_text(tuple.local, tuple.lport),
                   endpoint_text(tuple.remote, tuple.rport), backend_text(flow),
                   flow.expires_ns != 0 ? ", closing" : "");
  }
  for (std::size_t i = 0; i < status.counters.size(); ++i) {
    if (status.counters[i] == 0) continue;
    fmt::format_to(out, "{:>14}  {:<28}  {}\n", status.counters[i], kCounterDescriptions[i].name,
                   kCounterDescriptions[i].meaning);
  }
  return text;
}

std::string status_json(const Status& status) {
  std::string text = "{\n";
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "  \"interfaces\": [{}],\n  \"offers\": {},\n", quoted(status.interfaces),
                 status.offers);
  std::vector<std::string> objects;
  for (const auto& [key, terms] : status.services) {
    objects.push_back(fmt::format(R"({{"service": "{}", "form": "{}", "keyed": {}}})",
                                  endpoint_text(key.vip, key.port), form_name(terms),
                                  terms.n_keys > 0));
  }
  fmt::format_to(out, "  \"services\": [{}],\n", fmt::join(objects, ", "));
  std::vector<std::string> prefixes;
  for (const crab_prefix& prefix : status.prefixes) prefixes.push_back(prefix_text(prefix));
  fmt::format_to(out, "  \"allowed_prefixes\": [{}],\n", quoted(prefixes));
  fmt::format_to(out, "  \"flows\": {{\"open\": {}, \"closing\": {}}},\n", status.flows.n_open,
                 status.flows.n_closing);
  fmt::format_to(out, "  \"pending\": {},\n  \"echoes\": {},\n", status.n_pending, status.n_echoes);
  objects.clear();
  for (const auto& [tuple, flow] : status.flow_list) {
    objects.push_back(fmt::format(
        R"({{"client": "{}", "service": "{}", "backend": "{}", "closing": {}}})",
        endpoint_text(tuple.local, tuple.lport), endpoint_text(tuple.remote, tuple.rport),
        backend_text(flow), flow.expires_ns != 0));
  }
  fmt::format_to(out, "  \"flow_list\": [{}],\n", fmt::join(objects, ", "));
  objects.clear();
  for (std::size_t i = 0; i < status.counters.size(); ++i) {
    objects.push_back(
        fmt::format("\n    \"{}\": {}", kCounterDescriptions[i].name, status.counters[i]));
  }
  fmt::format_to(out, "  \"counters\": {{{}\n  }}\n}}\n", fmt::join(objects, ","));
  return text;
}

}  // namespace crab
