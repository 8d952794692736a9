// SPDX-License-Identifier: Apache-2.0
#include "control/yaml_message.h"

#include <google/protobuf/descriptor.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "control/enum_name.h"

namespace crab {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string list_fields(const Descriptor& type) {
  std::string list;
  for (int i = 0; i < type.field_count(); ++i) {
    if (i > 0) list += ", ";
    list += type.field(i)->name();
  }
  return list;
}

class Reader {
 public:
  Reader(FieldErrors* errors, FieldLines* lines) : errors_(errors), lines_(lines) {}

  void read_message(const YAML::Node& node, const std::string& path, Message* message);

 private:
  void read_field(const YAML::Node& node, const std::string& path, Message* message,
                  const FieldDescriptor* field);
  void read_list(const YAML::Node& node, const std::string& path, Message* message,
                 const FieldDescriptor* field);
  void read_map(const YAML::Node& node, const std::string& path, Message* message,
                const FieldDescriptor* field);
  // One value: sets the field, or adds to it if it is repeated.
  void read_value(const YAML::Node& node, const std::string& path, Message* message,
                  const FieldDescriptor* field);
  void read_scalar(const std::string& text, const std::string& path, Message* message,
                   const FieldDescriptor* field);
  template <typename T>
  bool parse_number(const std::string& text, const std::string& path, T* value);

  void fail(const std::string& path, std::string why) {
    errors_->push_back({path, std::move(why)});
  }
  // Calls each(key, value, path of the key) for the pairs of a map, and reports keys that stand
  // there twice or are no words.
  template <typename Each>
  void for_each_key(const YAML::Node& node, const std::string& path, Each each);

  FieldErrors* errors_;
  FieldLines* lines_;
};

template <typename Each>
void Reader::for_each_key(const YAML::Node& node, const std::string& path, Each each) {
  std::set<std::string> seen;
  for (const auto& pair : node) {
    if (!pair.first.IsScalar()) {
      fail(path, "has a key that is not a plain word");
      continue;
    }
    const std::string& key = pair.first.Scalar();
    const std::string inner = path.empty() ? key : path + "." + key;
    const int line = pair.first.Mark().line + 1;
    if (!seen.insert(key).second) {
      // An entry of its own, so that the error has the line of the second key.
      const std::string again = inner + " (again)";
      lines_->set(again, line);
      fail(again, "stands twice; the first is at line " + std::to_string(lines_->find(inner)));
      continue;
    }
    lines_->set(inner, line);
    each(key, pair.second, inner);
  }
}

void Reader::read_message(const YAML::Node& node, const std::string& path, Message* message) {
  if (node.IsNull()) return;  // `control:` with everything under it commented out
  if (!node.IsMap()) return fail(path, "must be a group of fields (a YAML map)");
  const Descriptor& type = *message->GetDescriptor();
  for_each_key(node, path, [&](const auto& key, const auto& value, const auto& inner) {
    const FieldDescriptor* field = type.FindFieldByName(key);
    if (field == nullptr) return fail(inner, "unknown field; known are " + list_fields(type));
    const auto* oneof = field->real_containing_oneof();
    if (oneof != nullptr && message->GetReflection()->HasOneof(*message, oneof)) {
      const auto* other = message->GetReflection()->GetOneofFieldDescriptor(*message, oneof);
      return fail(inner, "excludes `" + other->name() + "`, which is set too");
    }
    read_field(value, inner, message, field);
  });
}

void Reader::read_field(const YAML::Node& node, const std::string& path, Message* message,
                        const FieldDescriptor* field) {
  if (field->is_map()) {
    read_map(node, path, message, field);
  } else if (field->is_repeated()) {
    read_list(node, path, message, field);
  } else {
    read_value(node, path, message, field);
  }
}

void Reader::read_list(const YAML::Node& node, const std::string& path, Message* message,
                       const FieldDescriptor* field) {
  if (node.IsNull()) return;
  if (!node.IsSequence()) return fail(path, "must be a list");
  int index = 0;
  for (const auto& element : node) {
    const std::string inner = indexed(path, index++);
    lines_->set(inner, element.Mark().line + 1);
    read_value(element, inner, message, field);
  }
}

void Reader::read_map(const YAML::Node& node, const std::string& path, Message* message,
                      const FieldDescriptor* field) {
  if (node.IsNull()) return;
  if (!node.IsMap()) return fail(path, "must be a list of `name: value` pairs (a YAML map)");
  for_each_key(node, path, [&](const auto& key, const auto& value, const auto& inner) {
    Message* entry = message->GetReflection()->AddMessage(message, field);
    read_scalar(key, inner, entry, field->message_type()->map_key());
    read_value(value, inner, entry, field->message_type()->map_value());
  });
}

void Reader::read_value(const YAML::Node& node, const std::string& path, Message* message,
                        const FieldDescriptor* field) {
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    const auto* reflection = message->GetReflection();
    read_message(node, path,
                 field->is_repeated() ? reflection->AddMessage(message, field)
                                      : reflection->MutableMessage(message, field));
  } else if (node.IsNull()) {
    fail(path, "has no value");
  } else if (!node.IsScalar()) {
    fail(path, "must be a single value");
  } else {
    read_scalar(node.Scalar(), path, message, field);
  }
}

template <typename T>
bool Reader::parse_number(const std::string& text, const std::string& path, T* value) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *value);
  if constexpr (std::is_integral_v<T>) {
    // A sign or a leading zero is a number to some YAML readers and octal to others.
    const bool whole =
        !text.empty() && text.find_first_not_of("0123456789", text[0] == '-') == std::string::npos;
    const bool leading_zero = text.size() > 1 && text[0] == '0';
    if (!whole || leading_zero || text == "-") {
      fail(path, "'" + text + "' is not a whole decimal number");
      return false;
    }
    if (error != std::errc() || rest != end) {
      fail(path, text + " is out of range: " + std::to_string(std::numeric_limits<T>::min()) +
                     " to " + std::to_string(std::numeric_limits<T>::max()));
      return false;
    }
  } else if (error != std::errc() || rest != end || !std::isfinite(*value)) {
    fail(path, "'" + text + "' is not a number");
    return false;
  }
  return true;
}

void Reader::read_scalar(const std::string& text, const std::string& path, Message* message,
                         const FieldDescriptor* field) {
  const auto* reflection = message->GetReflection();
  const bool add = field->is_repeated();
  switch (field->cpp_type()) {
#define CRAB_NUMBER(kind, type, method)                             \
  case FieldDescriptor::CPPTYPE_##kind: {                           \
    type value{};                                                   \
    if (!parse_number(text, path, &value)) return;                  \
    if (add) return reflection->Add##method(message, field, value); \
    return reflection->Set##method(message, field, value);          \
  }
    CRAB_NUMBER(INT32, std::int32_t, Int32)
    CRAB_NUMBER(INT64, std::int64_t, Int64)
    CRAB_NUMBER(UINT32, std::uint32_t, UInt32)
    CRAB_NUMBER(UINT64, std::uint64_t, UInt64)
    CRAB_NUMBER(DOUBLE, double, Double)
    CRAB_NUMBER(FLOAT, float, Float)
#undef CRAB_NUMBER
    case FieldDescriptor::CPPTYPE_BOOL: {
      if (text != "true" && text != "false") {
        return fail(path, "'" + text + "' is neither true nor false");
      }
      if (add) return reflection->AddBool(message, field, text == "true");
      return reflection->SetBool(message, field, text == "true");
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto& type = *field->enum_type();
      const auto* value = find_enum_value(type, text);
      if (value == nullptr) {
        return fail(path, "'" + text + "' is none of " + list_short_names(type));
      }
      if (add) return reflection->AddEnum(message, field, value);
      return reflection->SetEnum(message, field, value);
    }
    case FieldDescriptor::CPPTYPE_STRING:
      if (add) return reflection->AddString(message, field, text);
      return reflection->SetString(message, field, text);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return fail(path, "must be a group of fields (a YAML map)");
  }
}

}  // namespace

int FieldLines::find(std::string_view field) const {
  for (;;) {
    const auto found = lines_.find(field);
    if (found != lines_.end()) return found->second;
    const auto cut = field.find_last_of(".[");
    if (cut == std::string_view::npos) return 0;
    field = field.substr(0, cut);
  }
}

FieldErrors read_yaml(const YAML::Node& node, Message* message, FieldLines* lines) {
  FieldErrors errors;
  Reader(&errors, lines).read_message(node, "", message);
  return errors;
}

}  // namespace crab
