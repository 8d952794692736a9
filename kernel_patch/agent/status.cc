// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/status.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

#include "kernel_patch/agent/accepted_nodes.h"
#include "kernel_patch/agent/endpoint_record.h"
#include "kernel_patch/agent/mapped_address.h"
#include "kernel_patch/agent/session_status.h"
#include "lb/monotonic_clock.h"

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

std::vector<std::string> role_names(unsigned roles) {
  std::vector<std::string> names;
  if (roles & CRAB_ROLE_CLIENT) names.emplace_back("client");
  if (roles & CRAB_ROLE_SERVER) names.emplace_back("server");
  return names;
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

// With an endpoint in the kernel; otherwise the maps have them.
std::vector<AcceptedNodes::Count> kernel_counts(const PinDirectory& directory, LoadMaps* maps) {
  if (!directory.has("accepted_bases")) return {};
  try {
    return AcceptedNodes(directory, *maps).peek();
  } catch (const AgentError&) {  // the module is unloaded: what the agent knew last is shown
    return {};
  }
}

void read_loads(const PinDirectory& directory, Status* status) {
  LoadMaps maps(directory);
  const std::vector<AcceptedNodes::Count> newer = kernel_counts(directory, &maps);
  for (const WatchedBackend& backend : maps.watched()) {
    std::array<std::uint64_t, 256> accepted{};
    for (unsigned node = 1; node < 256; ++node) {
      accepted[node] = maps.accepted_from(backend.index, static_cast<std::uint8_t>(node));
    }
    BackendLoad& load = status->loads.emplace_back();
    load.address = backend.address;
    load.counts = maps.counts(backend.index);
    for (const AcceptedNodes::Count& count : newer) {
      if (count.index != backend.index) continue;
      accepted[count.node] = std::min(count.n, load.counts.accepted);
    }
    for (unsigned node = 1; node < 256; ++node) {
      if (accepted[node] > 0) load.accepted_by_node.emplace_back(node, accepted[node]);
    }
  }
  status->boot_id = maps.settings().boot_id;
  status->n_repaired = maps.settings().repaired;
  status->n_wakes_lost = maps.settings().wakes_lost;
}

constexpr std::uint64_t kAbsentAfterNs = 5'000'000'000;

const char* state_name(const crab_session& session, std::uint64_t now_ns) {
  if (session.state == CRAB_SESSION_ENDED) return "ended";
  if (now_ns > session.seen_ns + kAbsentAfterNs) return "no agent";
  return session.state == CRAB_SESSION_ATTACHED ? "attached" : "attaching";
}

void put_loads_table(const Status& status, std::string* text) {
  const auto out = std::back_inserter(*text);
  for (const BackendLoad& load : status.loads) {
    fmt::format_to(out, "backend     {}  {} open, {} accepted, {} closed", load.address.to_string(),
                   load.counts.open(), load.counts.accepted, load.counts.closed);
    for (const auto& [node, n] : load.accepted_by_node) {
      fmt::format_to(out, ", {} from node {}", n, node);
    }
    *text += '\n';
  }
  if (status.n_repaired > 0 || status.n_wakes_lost > 0) {
    fmt::format_to(out, "counting    {} connections corrected by audits, {} wakes lost\n",
                   status.n_repaired, status.n_wakes_lost);
  }
  for (const crab_session& session : status.nodes) {
    fmt::format_to(out, "node        {}  {}", session.appliance,
                   state_name(session, status.now_ns));
    if (session.node != 0) fmt::format_to(out, " to node {}", session.node);
    fmt::format_to(out, ", {} backends to {}: {} reports, {} on events, {} failed to leave",
                   session.n_backends, session.report_address, session.n_reports,
                   session.n_event_reports, session.n_send_failures);
    fmt::format_to(out, "; attached {} times, ended {} times{}{}\n", session.n_attached,
                   session.n_attach_failures,
                   session.last_error[0] == 0 ? "" : ", last: ", session.last_error);
  }
}

// As JSON wants it (RFC 8259, 7): the node's own words may be in it.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return result;
}

void put_loads_json(const Status& status, std::string* text) {
  const auto out = std::back_inserter(*text);
  std::vector<std::string> objects;
  for (const BackendLoad& load : status.loads) {
    std::vector<std::string> by_node;
    for (const auto& [node, n] : load.accepted_by_node) {
      by_node.push_back(fmt::format("\"{}\": {}", node, n));
    }
    objects.push_back(fmt::format(
        R"({{"backend": "{}", "open": {}, "accepted": {}, "closed": {}, "lingering": {}, "accepted_by_node": {{{}}}}})",
        load.address.to_string(), load.counts.open(), load.counts.accepted, load.counts.closed,
        load.counts.lingering, fmt::join(by_node, ", ")));
  }
  fmt::format_to(out, "  \"backends\": [{}],\n", fmt::join(objects, ", "));
  fmt::format_to(
      out, "  \"counting\": {{\"boot_id\": \"{:016x}\", \"repaired\": {}, \"wakes_lost\": {}}},\n",
      status.boot_id, status.n_repaired, status.n_wakes_lost);
  objects.clear();
  for (const crab_session& session : status.nodes) {
    objects.push_back(fmt::format(
        R"({{"appliance": "{}", "state": "{}", "node": {}, "report_address": "{}", "backends": {}, )"
        R"("reports": {}, "event_reports": {}, "send_failures": {}, "attached": {}, )"
        R"("attach_failures": {}, "last_error": "{}"}})",
        escaped(session.appliance), state_name(session, status.now_ns), session.node,
        escaped(session.report_address), session.n_backends, session.n_reports,
        session.n_event_reports, session.n_send_failures, session.n_attached,
        session.n_attach_failures, escaped(session.last_error)));
  }
  fmt::format_to(out, "  \"nodes\": [{}],\n", fmt::join(objects, ", "));
}

}  // namespace

Status read_status(const std::string& pin_directory, bool with_flows) {
  const PinDirectory directory = PinDirectory::of_installed(pin_directory);
  Status status;
  status.endpoint = find_installed(directory)->report(with_flows);
  if (const auto record = read_record(directory)) {
    status.endpoint.kind = record->kind;
    status.endpoint.why = record->why;
    if (record->kind == EndpointKind::Ebpf) status.endpoint.roles = record->roles;
  }
  if (directory.has("load_settings")) read_loads(directory, &status);
  const SharedMap<crab_session> sessions(directory, "sessions", CRAB_MAX_APPLIANCES);
  for (std::size_t i = 0; i < CRAB_MAX_APPLIANCES; ++i) {
    if (sessions[i].state != CRAB_SESSION_UNUSED) status.nodes.push_back(sessions[i]);
  }
  status.now_ns = monotonic_ns();
  return status;
}

std::string status_table(const Status& status) {
  const EndpointReport& endpoint = status.endpoint;
  std::string text;
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "endpoint    {}{}{}\n", name_of(endpoint.kind),
                 endpoint.why.empty() ? "" : ": ", endpoint.why);
  if (endpoint.kind == EndpointKind::Ebpf) {
    fmt::format_to(out, "interfaces  {}\n", fmt::join(endpoint.interfaces, ", "));
  } else {
    fmt::format_to(out, "in force    {}\n", endpoint.implementation);
  }
  if (endpoint.roles != 0) {
    fmt::format_to(out, "roles       {}\n", fmt::join(role_names(endpoint.roles), ", "));
  }
  fmt::format_to(out, "offers      {}\n", endpoint.offers ? "yes" : "no");
  for (const auto& [key, terms] : endpoint.services) {
    fmt::format_to(out, "service     {}  form {}{}\n", endpoint_text(key.vip, key.port),
                   form_name(terms), terms.n_keys > 0 ? ", keyed" : "");
  }
  for (const crab_prefix& prefix : endpoint.prefixes) {
    fmt::format_to(out, "allowed     {}\n", prefix_text(prefix));
  }
  if (endpoint.flows) {
    fmt::format_to(out, "flows       {} open, {} closing\n", endpoint.flows->n_open,
                   endpoint.flows->n_closing);
  }
  fmt::format_to(out, "pending     {}\nechoes      {}\n", endpoint.n_pending, endpoint.n_echoes);
  for (const auto& [tuple, flow] : endpoint.flow_list) {
    fmt::format_to(out, "flow        {} -> {} at {}{}\n", endpoint_text(tuple.local, tuple.lport),
                   endpoint_text(tuple.remote, tuple.rport), backend_text(flow),
                   flow.expires_ns != 0 ? ", closing" : "");
  }
  put_loads_table(status, &text);
  for (const CounterReading& counter : endpoint.counters) {
    if (counter.value == 0) continue;
    fmt::format_to(out, "{:>14}  {:<28}  {}\n", counter.value, counter.name, counter.meaning);
  }
  return text;
}

std::string status_json(const Status& status) {
  const EndpointReport& endpoint = status.endpoint;
  std::string text = "{\n";
  const auto out = std::back_inserter(text);
  fmt::format_to(out,
                 "  \"endpoint\": {{\"kind\": \"{}\", \"why\": \"{}\", \"implementation\": "
                 "\"{}\", \"roles\": [{}]}},\n",
                 name_of(endpoint.kind), escaped(endpoint.why), escaped(endpoint.implementation),
                 quoted(role_names(endpoint.roles)));
  fmt::format_to(out, "  \"interfaces\": [{}],\n  \"offers\": {},\n", quoted(endpoint.interfaces),
                 endpoint.offers);
  std::vector<std::string> objects;
  for (const auto& [key, terms] : endpoint.services) {
    objects.push_back(fmt::format(R"({{"service": "{}", "form": "{}", "keyed": {}}})",
                                  endpoint_text(key.vip, key.port), form_name(terms),
                                  terms.n_keys > 0));
  }
  fmt::format_to(out, "  \"services\": [{}],\n", fmt::join(objects, ", "));
  std::vector<std::string> prefixes;
  for (const crab_prefix& prefix : endpoint.prefixes) prefixes.push_back(prefix_text(prefix));
  fmt::format_to(out, "  \"allowed_prefixes\": [{}],\n", quoted(prefixes));
  // Connections of an endpoint in the kernel are sockets like any other.
  if (endpoint.flows) {
    fmt::format_to(out, "  \"flows\": {{\"open\": {}, \"closing\": {}}},\n", endpoint.flows->n_open,
                   endpoint.flows->n_closing);
  } else {
    fmt::format_to(out, "  \"flows\": null,\n");
  }
  fmt::format_to(out, "  \"pending\": {},\n  \"echoes\": {},\n", endpoint.n_pending,
                 endpoint.n_echoes);
  objects.clear();
  for (const auto& [tuple, flow] : endpoint.flow_list) {
    objects.push_back(fmt::format(
        R"({{"client": "{}", "service": "{}", "backend": "{}", "closing": {}}})",
        endpoint_text(tuple.local, tuple.lport), endpoint_text(tuple.remote, tuple.rport),
        backend_text(flow), flow.expires_ns != 0));
  }
  fmt::format_to(out, "  \"flow_list\": [{}],\n", fmt::join(objects, ", "));
  put_loads_json(status, &text);
  objects.clear();
  for (const CounterReading& counter : endpoint.counters) {
    objects.push_back(fmt::format("\n    \"{}\": {}", escaped(counter.name), counter.value));
  }
  fmt::format_to(out, "  \"counters\": {{{}\n  }}\n}}\n", fmt::join(objects, ","));
  return text;
}

}  // namespace crab
