// SPDX-License-Identifier: Apache-2.0
// Enum values as people write them: OPTION_FORM_PAPER is `paper` in files and on the terminal.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <string_view>

namespace crab {

// Lower case, without the prefix that the enum's zero value (PREFIX_UNSPECIFIED) has.
std::string short_name(const google::protobuf::EnumValueDescriptor& value);

// The value of that short or full name, or nullptr. UNSPECIFIED has no name to write.
const google::protobuf::EnumValueDescriptor* find_enum_value(
    const google::protobuf::EnumDescriptor& type, std::string_view name);

// "crab, paper"
std::string list_short_names(const google::protobuf::EnumDescriptor& type);

}  // namespace crab
