// SPDX-License-Identifier: Apache-2.0
// Loads a plugin folder and shows as JSON what came of it, and what one policy then picks:
//   plugin_host DIRECTORY [POLICY [NAME=VALUE ...]]
// Three backends of weight 1, 1 and 2, with 5, 0 and 0 connections; 1,000 flows in bursts of 8.
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <array>
#include <cstdio>
#include <exception>

#include "policies/plugin_loader.h"
#include "policies/registry.h"

namespace {

using google::protobuf::Struct;

void load_of(void*, std::uint32_t load_slot, crab_policy_load* load) {
  *load = {};
  load->open = load_slot == 0 ? 5 : 0;
  load->source = CRAB_LOAD_EVENT;
}

Struct describe_folder(const char* directory) {
  crab::load_policy_plugins(directory);
  Struct out;
  for (const auto& known : crab::known_policies()) {
    (*(*out.mutable_fields())["known"].mutable_struct_value()->mutable_fields())[known.ops->name]
        .set_string_value(known.path);
  }
  for (const auto& plugin : crab::refused_plugins()) {
    auto& entry = *(*out.mutable_fields())["refused"].mutable_struct_value()->mutable_fields();
    entry[plugin.path.substr(plugin.path.rfind('/') + 1)].set_string_value(plugin.reason);
  }
  return out;
}

void use(const char* name, const crab::PolicyInstance::Parameters& parameters, Struct* out) {
  const auto* ops = crab::find_policy(name);
  if (ops == nullptr) throw std::runtime_error("no such policy");
  const crab_policy_host host = {
      .struct_size = sizeof(crab_policy_host), .zero = 0, .context = nullptr, .load = load_of};
  const auto instance = crab::PolicyInstance::create(*ops, parameters, host);
  const std::array<crab_policy_backend, 3> backends = {{{"a", 0, 1}, {"b", 1, 1}, {"c", 2, 2}}};
  const auto set = instance->rebuild(backends);
  set.update_all(1);
  (*out->mutable_fields())["explained"].set_string_value(set.explain({1, 1}).second);
  std::array<unsigned, 4> counts{};
  std::uint64_t x = 1;
  for (unsigned burst = 0; burst < 125; ++burst) {
    std::array<crab_policy_flow, 8> flows;
    for (auto& flow : flows) flow = {x *= 0x9E3779B97F4A7C15, x ^ 0x5555};
    std::array<std::uint32_t, 8> picks;
    set.pick(flows, picks);
    for (const auto pick : picks) ++counts[std::min<std::uint32_t>(pick, 3)];
  }
  auto* list = (*out->mutable_fields())["picks"].mutable_list_value();
  for (const unsigned count : counts) list->add_values()->set_number_value(count);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) return 2;
  Struct out = describe_folder(argv[1]);
  crab::PolicyInstance::Parameters parameters;
  for (int i = 3; i < argc; ++i) {
    const std::string word = argv[i];
    const auto equals = word.find('=');
    parameters.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  if (argc > 2) use(argv[2], parameters, &out);
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(out, &json).ok()) return 1;
  std::printf("%s\n", json.c_str());
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
