// SPDX-License-Identifier: Apache-2.0
// The configuration file: crab.v1.Config as YAML, so that file and API have one schema. Checks
// what the types say; what the values mean is control/validate.h's. Both crab-lb and crab-agent
// read files with it, before their threads start.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/field_error.h"
#include "control/yaml_message.h"
#include "crab/v1/config.pb.h"

namespace crab {

inline constexpr std::size_t kMaxConfigBytes = 64U << 20;

class ConfigFile {
 public:
  // Reads the file. Never throws on its account: what is wrong with it, from its absence to a bad
  // number, is in errors().
  static ConfigFile load(const std::string& path);
  // The same for text in hand, of which errors say that it stands in the file `name`.
  static ConfigFile parse(const std::string& text, const std::string& name);

  // Meaningful only while ok().
  const v1::Config& config() const { return config_; }
  v1::Config& config() { return config_; }

  bool ok() const { return errors_.empty(); }
  // Was it one YAML document? Only then do checks of values make sense.
  bool readable() const { return readable_; }
  // All of them, `FILE:LINE: field: why`, in the order of the file.
  std::vector<std::string> errors() const;

  // Adds what a later check found, with the lines of the fields. A field that was in error before
  // is passed over: "missing" would be no news of one that could not be read.
  void add_errors(const FieldErrors& found);

 private:
  explicit ConfigFile(std::string name) : name_(std::move(name)) {}
  void add_error(int line, const std::string& text);

  std::string name_;
  v1::Config config_;
  bool readable_ = false;
  FieldLines lines_;
  std::set<std::string> in_error_;                   // fields
  std::vector<std::pair<int, std::string>> errors_;  // (line or 0, text without FILE:LINE)
};

}  // namespace crab
