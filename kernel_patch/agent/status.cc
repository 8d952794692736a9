// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/status.h"

#include <fmt/format.h>

#include <iterator>
#include <string_view>

#include "kernel_patch/agent/mapped_address.h"
#include "kernel_patch/agent/session_status.h"
#include "lb/monotonic_clock.h"
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

void read_loads(const PinDirectory& directory, Status* status) {
  const LoadMaps maps(directory);
  for (const WatchedBackend& backend : maps.watched()) {
    BackendLoad& load = status->loads.emplace_back();
    load.address = backend.address;
    for (unsigned node = 1; node < 256; ++node) {
      const auto n = maps.accepted_from(backend.index, static_cast<std::uint8_t>(node));
      if (n > 0) load.accepted_by_node.emplace_back(node, n);
    }
    load.counts = maps.counts(backend.index);
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
  if (directory.has("load_settings")) read_loads(directory, &status);
  const SharedMap<crab_session> sessions(directory, "sessions", CRAB_MAX_APPLIANCES);
  for (std::size_t i = 0; i < CRAB_MAX_APPLIANCES; ++i) {
    if (sessions[i].state != CRAB_SESSION_UNUSED) status.nodes.push_back(sessions[i]);
  }
  status.now_ns = monotonic_ns();
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
  put_loads_table(status, &text);
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
  put_loads_json(status, &text);
  objects.clear();
  for (std::size_t i = 0; i < status.counters.size(); ++i) {
    objects.push_back(
        fmt::format("\n    \"{}\": {}", kCounterDescriptions[i].name, status.counters[i]));
  }
  fmt::format_to(out, "  \"counters\": {{{}\n  }}\n}}\n", fmt::join(objects, ","));
  return text;
}

}  // namespace crab
