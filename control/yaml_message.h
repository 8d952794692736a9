// SPDX-License-Identifier: Apache-2.0
// YAML into any protobuf message by reflection. Fields have the names of the .proto file, enum
// values their short or full names (control/enum_name.h), and nothing is passed over in silence.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <string_view>

#include "control/field_error.h"

namespace YAML {
class Node;
}

namespace crab {

// Where in its file each field of a message stands.
class FieldLines {
 public:
  void set(const std::string& field, int line) { lines_[field] = line; }
  // Line, from 1, of the field, or else of the nearest thing around it that the file has; 0 if
  // that is the whole file.
  int find(std::string_view field) const;

 private:
  std::map<std::string, int, std::less<>> lines_;
};

// Returns every error: unknown and duplicate fields, wrong types, numbers out of range, unknown
// enum values, two fields of one oneof. What is not in error is in the message all the same.
FieldErrors read_yaml(const YAML::Node& node, google::protobuf::Message* message,
                      FieldLines* lines);

}  // namespace crab
