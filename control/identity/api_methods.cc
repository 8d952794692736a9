// SPDX-License-Identifier: Apache-2.0
#include "control/identity/api_methods.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <array>

#include "crab/v1/access.pb.h"
#include "crab/v1/agent.pb.h"
#include "crab/v1/control.pb.h"

namespace crab {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr std::string_view kPackage = "crab.v1.";
constexpr std::array<std::string_view, 5> kReadingVerbs = {"Get", "List", "Watch", "Describe",
                                                           "Explain"};

MethodNames described_methods() {
  MethodNames names = {kReflection};
  for (const auto* file :
       {v1::GetCallerRequest::descriptor()->file(), v1::AttachRequest::descriptor()->file(),
        v1::ListServicesRequest::descriptor()->file()}) {
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        names.insert(file->service(i)->full_name() + "/" + file->service(i)->method(j)->name());
      }
    }
  }
  return names;
}

// BackendService and RegisterBackends: the parts that a role's words name.
std::string_view service_part(std::string_view method) {
  const auto service = method.substr(0, method.find('/'));
  const auto dot = service.rfind('.');
  return service.substr(dot + 1);  // npos + 1 is 0
}
std::string_view rpc_part(std::string_view method) { return method.substr(method.find('/') + 1); }

bool only_reads(std::string_view method) {
  const auto rpc = rpc_part(method);
  return method == kReflection || service_part(method) == "StatsService" ||
         std::any_of(kReadingVerbs.begin(), kReadingVerbs.end(),
                     [&](auto verb) { return rpc.starts_with(verb); });
}

template <typename Condition>
MethodNames methods_that(Condition condition) {
  MethodNames names;
  std::copy_if(api_methods().begin(), api_methods().end(), std::inserter(names, names.end()),
               condition);
  return names;
}

// What a field says of the request's services: a name, a message that has one, or a list of either.
void add_services(const Message& request, const FieldDescriptor* field,
                  std::vector<std::string>* names) {
  const auto* reflection = request.GetReflection();
  const bool is_text = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
  const int n = field->is_repeated() ? reflection->FieldSize(request, field) : 1;
  for (int i = 0; i < n; ++i) {
    if (is_text) {
      names->push_back(field->is_repeated() ? reflection->GetRepeatedString(request, field, i)
                                            : reflection->GetString(request, field));
      continue;
    }
    const Message& inner = field->is_repeated() ? reflection->GetRepeatedMessage(request, field, i)
                                                : reflection->GetMessage(request, field);
    const auto* name = inner.GetDescriptor()->FindFieldByName("name");
    if (name != nullptr && name->cpp_type() == FieldDescriptor::CPPTYPE_STRING &&
        !name->is_repeated()) {
      names->push_back(inner.GetReflection()->GetString(inner, name));
    }
  }
  if (n == 0) names->emplace_back();
}

}  // namespace

const MethodNames& api_methods() {
  static const MethodNames kMethods = described_methods();
  return kMethods;
}

MethodNames expand_methods(std::string_view word) {
  if (word == "operator") return api_methods();
  if (word == "viewer") return methods_that(only_reads);
  if (word == "autoscaler") {
    return methods_that([](std::string_view method) {
      const auto service = service_part(method);
      return only_reads(method) || service == "BackendService" || service == "LeaseService";
    });
  }
  if (word == "agent") {
    return methods_that([](std::string_view method) {
      return service_part(method) == "AgentService" || method == "crab.v1.AccessService/GetCaller";
    });
  }
  if (word.starts_with('/')) word.remove_prefix(1);
  if (word.starts_with(kPackage)) word.remove_prefix(kPackage.size());
  const auto cut = word.find_last_of("./");
  if (cut == std::string_view::npos) return {};
  const auto service = word.substr(0, cut);
  const auto rpc = word.substr(cut + 1);
  return methods_that([&](std::string_view method) {
    const auto full = method.substr(0, method.find('/'));
    return (service_part(method) == service || full == service) &&
           (rpc == "*" || rpc_part(method) == rpc);
  });
}

std::vector<std::string> services_of(const Message& request) {
  const Descriptor& type = *request.GetDescriptor();
  for (const char* name : {"service", "services", "name"}) {
    const auto* field = type.FindFieldByName(name);
    if (field == nullptr) continue;
    const bool names_something = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING ||
                                 field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (!names_something) continue;
    std::vector<std::string> services;
    add_services(request, field, &services);
    return services;
  }
  return {};
}

}  // namespace crab
