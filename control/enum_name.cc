// SPDX-License-Identifier: Apache-2.0
#include "control/enum_name.h"

namespace crab {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;

std::size_t prefix_length(const EnumDescriptor& type) {
  const std::string& zero = type.value(0)->name();
  return zero.size() - std::string_view("UNSPECIFIED").size();
}

}  // namespace

std::string short_name(const EnumValueDescriptor& value) {
  std::string name = value.name().substr(prefix_length(*value.type()));
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

const EnumValueDescriptor* find_enum_value(const EnumDescriptor& type, std::string_view name) {
  for (int i = 1; i < type.value_count(); ++i) {
    if (name == type.value(i)->name() || name == short_name(*type.value(i))) return type.value(i);
  }
  return nullptr;
}

std::string list_short_names(const EnumDescriptor& type) {
  std::string list;
  for (int i = 1; i < type.value_count(); ++i) {
    if (i > 1) list += ", ";
    list += short_name(*type.value(i));
  }
  return list;
}

}  // namespace crab
