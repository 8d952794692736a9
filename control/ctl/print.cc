// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/print.h"

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>
#include <yaml-cpp/yaml.h>

#include <cstdio>
#include <map>

#include "control/ctl/print_policy.h"
#include "control/ctl/table.h"
#include "control/enum_name.h"

namespace crab {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Align = Table::Align;

constexpr std::uint32_t kWholeWeight = 100;  // per cent

// index: into a repeated field; -1 for a single one.
YAML::Node scalar_node(const Message& message, const FieldDescriptor* field, int index);

YAML::Node message_node(const Message& message) {
  YAML::Node map(YAML::NodeType::Map);
  const auto* reflection = message.GetReflection();
  const auto* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    if (field->is_map()) {
      // Sorted, as std::map is: protobuf's order is none.
      std::map<std::string, YAML::Node> sorted;
      for (int k = 0; k < reflection->FieldSize(message, field); ++k) {
        const Message& entry = reflection->GetRepeatedMessage(message, field, k);
        const auto* entry_type = field->message_type();
        sorted[scalar_node(entry, entry_type->map_key(), -1).Scalar()] =
            scalar_node(entry, entry_type->map_value(), -1);
      }
      if (!sorted.empty()) map[field->name()] = sorted;
    } else if (field->is_repeated()) {
      YAML::Node list(YAML::NodeType::Sequence);
      for (int k = 0; k < reflection->FieldSize(message, field); ++k) {
        list.push_back(scalar_node(message, field, k));
      }
      if (list.size() > 0) map[field->name()] = list;
    } else if (!field->has_presence() || reflection->HasField(message, field)) {
      const auto node = scalar_node(message, field, -1);
      if (node.IsDefined()) map[field->name()] = node;
    }
  }
  return map;
}

YAML::Node scalar_node(const Message& message, const FieldDescriptor* field, int index) {
  const auto* reflection = message.GetReflection();
  const bool one = index < 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const Message& inner = one ? reflection->GetMessage(message, field)
                                 : reflection->GetRepeatedMessage(message, field, index);
      // As in JSON: RFC 3339.
      if (const auto* time = dynamic_cast<const google::protobuf::Timestamp*>(&inner)) {
        return YAML::Node(google::protobuf::util::TimeUtil::ToString(*time));
      }
      return message_node(inner);
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto* value = one ? reflection->GetEnum(message, field)
                              : reflection->GetRepeatedEnum(message, field, index);
      if (value->number() == 0) return YAML::Node(YAML::NodeType::Undefined);
      return YAML::Node(short_name(*value));
    }
    case FieldDescriptor::CPPTYPE_STRING:
      return YAML::Node(one ? reflection->GetString(message, field)
                            : reflection->GetRepeatedString(message, field, index));
    case FieldDescriptor::CPPTYPE_BOOL:
      return YAML::Node(one ? reflection->GetBool(message, field)
                            : reflection->GetRepeatedBool(message, field, index));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return YAML::Node(one ? reflection->GetDouble(message, field)
                            : reflection->GetRepeatedDouble(message, field, index));
    case FieldDescriptor::CPPTYPE_UINT32:
      return YAML::Node(one ? reflection->GetUInt32(message, field)
                            : reflection->GetRepeatedUInt32(message, field, index));
    case FieldDescriptor::CPPTYPE_UINT64:
      return YAML::Node(one ? reflection->GetUInt64(message, field)
                            : reflection->GetRepeatedUInt64(message, field, index));
    default:
      // crab.v1 has no fields of the remaining types.
      throw std::logic_error("no YAML form for field " + field->full_name());
  }
}

template <typename Enum>
std::string shown(Enum value) {
  const auto* descriptor = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value);
  return descriptor == nullptr || value == 0 ? "-" : short_name(*descriptor);
}

std::string shown(const std::string& text) { return text.empty() ? "-" : text; }

std::string shown_duration(double seconds) {
  const auto whole = static_cast<unsigned long long>(seconds);
  char text[64];
  std::snprintf(text, sizeof text, "%llud %02llu:%02llu:%02llu", whole / 86'400, whole / 3'600 % 24,
                whole / 60 % 60, whole % 60);
  return text;
}

std::string shown_number(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", number);
  return text;
}

std::string shown_age(double seconds) {
  char text[32];
  const bool is_long = seconds >= 1;
  std::snprintf(text, sizeof text, is_long ? "%.1f s" : "%.0f ms",
                is_long ? seconds : seconds * 1'000);
  return text;
}

std::string shown_signal(const v1::LoadSignal& signal) {
  std::string text = shown(signal.source());
  if (signal.source() != v1::LoadSignal::SOURCE_ORCA) return text;
  text += " " + signal.metric() + " each " + std::to_string(signal.interval_ms()) + " ms";
  return signal.port() == 0 ? text : text + " at port " + std::to_string(signal.port());
}

}  // namespace

std::string to_json(const Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) throw std::runtime_error("no JSON form: " + status.ToString());
  return text;
}

std::string to_yaml(const Message& message) {
  YAML::Emitter out;
  out << message_node(message);
  return std::string(out.c_str()) + "\n";
}

std::string service_table(const v1::ListServicesResponse& services,
                          const v1::GetStatsResponse& stats) {
  std::map<std::string, const v1::ServiceStats*> by_name;
  for (const auto& service : stats.services()) by_name[service.service()] = &service;
  Table table({{"NAME"},
               {"ADDRESS"},
               {"PORT", Align::Right},
               {"POLICY"},
               {"OWNER"},
               {"BACKENDS", Align::Right},
               {"ELIGIBLE", Align::Right},
               {"CONNECTIONS", Align::Right},
               {"REFUSED", Align::Right}});
  const v1::ServiceStats none;
  for (const auto& service : services.services()) {
    const auto found = by_name.find(service.name());
    const auto& counts = found == by_name.end() ? none : *found->second;
    table.add({service.name(), service.address(), std::to_string(service.port()),
               policy_of(service.policy()), shown(service.owner()),
               std::to_string(counts.backends()), std::to_string(counts.eligible_backends()),
               std::to_string(counts.assigned_connections()),
               std::to_string(counts.refused_packets())});
  }
  return table.to_string();
}

std::string service_details(const v1::Service& service) {
  std::string text;
  const auto add = [&](const char* title, const std::string& value) {
    char line[512];
    std::snprintf(line, sizeof line, "%-12s %s\n", title, value.c_str());
    text += line;
  };
  add("name", service.name());
  add("address", service.address());
  add("port", std::to_string(service.port()));
  add("policy", policy_of(service.policy()));
  add("option form", shown(service.option_form()));
  add("announce", shown(service.announce()));
  if (service.slow_start().ramp_seconds() != 0) {
    add("slow start", std::to_string(service.slow_start().ramp_seconds()) + " s");
  }
  add("load signal", shown_signal(service.load_signal()));
  add("owner", shown(service.owner()));
  return text + "\n" + backend_table(service.backends());
}

std::string backend_table(const Backends& backends) {
  Table table({{"ID"},
               {"ADDRESS"},
               {"PORT", Align::Right},
               {"WEIGHT", Align::Right},
               {"STATE"},
               {"NEXT HOP"},
               {"CONNECTIONS", Align::Right},
               {"LOAD FROM"},
               {"OPEN", Align::Right},
               {"UNCONFIRMED", Align::Right},
               {"REPORT AGE", Align::Right},
               {"OWNER"},
               {"REASON"}});
  for (const auto& backend : backends) {
    const auto& status = backend.status();
    const auto& load = status.load();
    const bool reported = load.has_report_age_seconds();
    std::string weight = std::to_string(backend.weight());
    if (status.weight_percent() != 0 && status.weight_percent() != kWholeWeight) {
      weight += " (" + std::to_string(status.weight_percent()) + "%)";
    }
    table.add({backend.id(), backend.address(), std::to_string(backend.port()), weight,
               shown(status.state()), shown(status.next_hop_mac()),
               std::to_string(status.assigned_connections()), shown(load.source()),
               reported ? std::to_string(load.open()) : "-", std::to_string(load.unconfirmed()),
               reported ? shown_age(load.report_age_seconds()) : "-", shown(backend.owner()),
               shown(status.reason())});
  }
  return table.to_string();
}

std::string stats_tables(const v1::GetStatsResponse& stats, bool all_verdicts) {
  const auto& datapath = stats.datapath();
  Table totals({{"NODE"}, {"", Align::Right}});
  totals.add({"uptime", shown_duration(stats.uptime_seconds())});
  totals.add({"revision", std::to_string(stats.revision())});
  totals.add({"received packets", std::to_string(datapath.received_packets())});
  totals.add({"received bytes", std::to_string(datapath.received_bytes())});
  totals.add({"SYNs recalled", std::to_string(datapath.recalled_syns())});
  totals.add({"recalled in vain", std::to_string(datapath.recall_stale())});
  totals.add({"recall evicted young", std::to_string(datapath.recall_evicted_young())});
  totals.add({"missed by the ports", std::to_string(datapath.missed_packets())});
  totals.add({"to Linux packets", std::to_string(datapath.to_linux_packets())});
  totals.add({"to Linux drops", std::to_string(datapath.to_linux_drops())});
  totals.add({"from Linux packets", std::to_string(datapath.from_linux_packets())});
  totals.add({"from Linux drops", std::to_string(datapath.from_linux_drops())});
  totals.add({"host to wire packets", std::to_string(datapath.host_to_wire_packets())});
  totals.add({"host to wire drops", std::to_string(datapath.host_to_wire_drops())});

  Table verdicts({{"VERDICT"}, {"CLASS"}, {"PACKETS", Align::Right}});
  for (const auto& verdict : datapath.verdicts()) {
    if (verdict.packets() == 0 && !all_verdicts) continue;
    verdicts.add({verdict.verdict(), verdict.class_(), std::to_string(verdict.packets())});
  }
  Table services({{"SERVICE"},
                  {"POLICY"},
                  {"CONNECTIONS", Align::Right},
                  {"REFUSED", Align::Right},
                  {"BACKENDS", Align::Right},
                  {"ELIGIBLE", Align::Right}});
  for (const auto& service : stats.services()) {
    services.add({service.service(), service.policy(),
                  std::to_string(service.assigned_connections()),
                  std::to_string(service.refused_packets()), std::to_string(service.backends()),
                  std::to_string(service.eligible_backends())});
  }
  Table loads({{"SERVICE"},
               {"RULE"},
               {"REPORTING", Align::Right},
               {"SILENT", Align::Right},
               {"UNREPORTED", Align::Right},
               {"OLDEST REPORT", Align::Right},
               {"UNCONFIRMED", Align::Right},
               {"WRITTEN OFF", Align::Right},
               {"SKEW", Align::Right},
               {"REGRET", Align::Right},
               {"ALARM"}});
  for (const auto& service : stats.services()) {
    loads.add(
        {service.service(), shown(service.policy_rule()),
         std::to_string(service.reporting_backends()), std::to_string(service.silent_backends()),
         std::to_string(service.unreported_backends()),
         service.has_oldest_report_age_seconds() ? shown_age(service.oldest_report_age_seconds())
                                                 : "-",
         std::to_string(service.unconfirmed_connections()),
         std::to_string(service.written_off_connections()), shown_number(service.skew()),
         shown_number(service.regret()), service.path_suspected() ? "report path" : "-"});
  }
  const auto& reported = stats.load_reports();
  Table reports({{"LOAD REPORTS"}, {"", Align::Right}});
  reports.add({"agents", std::to_string(reported.agents())});
  reports.add({"datagrams", std::to_string(reported.datagrams())});
  reports.add({"records", std::to_string(reported.records())});
  if (reported.orca_reports() + reported.orca_streams_ended() > 0 || all_verdicts) {
    reports.add({"ORCA reports", std::to_string(reported.orca_reports())});
    reports.add({"ORCA reports unusable", std::to_string(reported.orca_unusable_reports())});
    reports.add({"ORCA streams ended", std::to_string(reported.orca_streams_ended())});
  }
  for (const auto& refusal : reported.refusals()) {
    if (refusal.count() == 0 && !all_verdicts) continue;
    reports.add({"refused: " + refusal.reason(), std::to_string(refusal.count())});
  }
  Table workers({{"WORKER", Align::Right},
                 {"RECEIVED", Align::Right},
                 {"REDIRECTED", Align::Right},
                 {"BURSTS", Align::Right},
                 {"EMPTY POLLS", Align::Right}});
  for (const auto& worker : stats.workers()) {
    workers.add({std::to_string(worker.worker()), std::to_string(worker.received_packets()),
                 std::to_string(worker.redirected_packets()), std::to_string(worker.bursts()),
                 std::to_string(worker.empty_polls())});
  }
  return totals.to_string() + "\n" + verdicts.to_string() + "\n" + services.to_string() + "\n" +
         loads.to_string() + "\n" + reports.to_string() + "\n" + workers.to_string();
}

}  // namespace crab
