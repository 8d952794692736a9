// SPDX-License-Identifier: Apache-2.0
#include "policies/plugin_loader.h"

#include <dirent.h>
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

#include "policies/registry.h"

namespace crab {
namespace {

constexpr std::size_t kMaxNameLength = 64;
constexpr std::size_t kMaxParameters = 64;
constexpr std::uint32_t kKnownFlags = CRAB_POLICY_USES_LOAD | CRAB_POLICY_NEEDS_TUPLE_HASH;
constexpr std::string_view kSuffix = ".so";

std::string error_text() { return std::generic_category().message(errno); }

bool is_name(const char* text) {
  const std::string_view name(text, strnlen(text, kMaxNameLength + 1));
  if (name.empty() || name.size() > kMaxNameLength || name[0] < 'a' || name[0] > 'z') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// What others may have changed is not run with our rights. Of a path itself, not of what a
// symbolic link leads to.
std::string why_untrusted(const std::string& path, mode_t type, const char* type_name) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) return error_text();
  if ((status.st_mode & S_IFMT) != type) {
    return std::string("is not a ") + type_name + " (symbolic links are not followed)";
  }
  if (status.st_uid != 0 && status.st_uid != geteuid()) {
    return "belongs to user " + std::to_string(status.st_uid) +
           ", and neither to root nor to the user that crab-lb runs as";
  }
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return "may be written to by its group or by others: chmod go-w " + path;
  }
  return "";
}

// Only then is anything beyond these two fields where we look for it.
bool is_our_version(const crab_policy_ops* ops) {
  return ops != nullptr && ops->abi_version == CRAB_POLICY_ABI_VERSION &&
         ops->struct_size >= sizeof(crab_policy_ops);
}

std::string why_parameters_unusable(const crab_policy_ops& ops) {
  if (ops.n_params > kMaxParameters) return "describes more than 64 parameters";
  if (ops.n_params > 0 && ops.params == nullptr) return "describes no parameters, but counts them";
  for (std::size_t i = 0; i < ops.n_params; ++i) {
    const crab_policy_param& param = ops.params[i];
    if (param.name == nullptr || !is_name(param.name)) {
      return "parameter " + std::to_string(i) + " has no name of [a-z][a-z0-9_]*";
    }
    if (param.description == nullptr || *param.description == '\0') {
      return "parameter '" + std::string(param.name) + "' is not described";
    }
    for (std::size_t k = 0; k < i; ++k) {
      if (std::strcmp(ops.params[k].name, param.name) == 0) {
        return "describes parameter '" + std::string(param.name) + "' twice";
      }
    }
  }
  return "";
}

std::string why_functions_unusable(const crab_policy_ops& ops) {
  const std::pair<bool, const char*> required[] = {
      {ops.create != nullptr, "create"},      {ops.rebuild != nullptr, "rebuild"},
      {ops.pick != nullptr, "pick"},          {ops.explain != nullptr, "explain"},
      {ops.release != nullptr, "release"},    {ops.destroy != nullptr, "destroy"},
      {ops.self_test != nullptr, "self_test"}};
  for (const auto& [is_there, name] : required) {
    if (!is_there) return std::string("has no ") + name + "()";
  }
  if ((ops.flags & CRAB_POLICY_USES_LOAD) != 0 && ops.update == nullptr) {
    return "says CRAB_POLICY_USES_LOAD, but has no update()";
  }
  return "";
}

std::string why_taken(const char* name) {
  for (const KnownPolicy& known : known_policies()) {
    if (std::strcmp(known.ops->name, name) != 0) continue;
    return known.path.empty() ? std::string("'") + name + "' is a built-in policy's name"
                              : std::string("'") + name + "' is already the name of " + known.path;
  }
  return "";
}

// The policy of one file; nullptr and why if there is none that we can run. `name` is what an
// operator may have called it.
const crab_policy_ops* load_plugin(const std::string& path, std::string* name, std::string* why) {
  if (*why = why_untrusted(path, S_IFREG, "regular file"); !why->empty()) return nullptr;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    *why = dlerror();  // NOLINT(concurrency-mt-unsafe): no other thread yet
    return nullptr;
  }
  const auto entry = reinterpret_cast<crab_policy_entry_fn>(dlsym(library, CRAB_POLICY_ENTRY));
  if (entry == nullptr) {
    *why = "exports no symbol " CRAB_POLICY_ENTRY;
    return nullptr;
  }
  const crab_policy_ops* ops = entry();
  if (is_our_version(ops) && ops->name != nullptr && is_name(ops->name)) *name = ops->name;
  if (*why = why_unusable(ops); !why->empty()) return nullptr;
  if (*why = why_taken(ops->name); !why->empty()) return nullptr;
  return ops;
}

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

// File names, sorted. Empty, with errno, if the directory cannot be read.
std::vector<std::string> list_objects(const std::string& directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, CloseDirectory> open(opendir(directory.c_str()));
  if (open == nullptr) return names;
  errno = 0;
  while (const dirent* entry = readdir(open.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string_view name = entry->d_name;
    if (name.size() > kSuffix.size() && name.ends_with(kSuffix)) names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::string why_unusable(const crab_policy_ops* ops) {
  if (ops == nullptr) return CRAB_POLICY_ENTRY "() returns nothing";
  if (ops->abi_version != CRAB_POLICY_ABI_VERSION) {
    return "is built for version " + std::to_string(ops->abi_version) +
           " of the policy ABI; this crab-lb has version " +
           std::to_string(CRAB_POLICY_ABI_VERSION);
  }
  if (!is_our_version(ops)) {
    return "has a crab_policy_ops of " + std::to_string(ops->struct_size) +
           " bytes; this crab-lb " + "needs " + std::to_string(sizeof(crab_policy_ops));
  }
  if (ops->name == nullptr || !is_name(ops->name)) return "has no name of [a-z][a-z0-9_]*";
  if (ops->description == nullptr || *ops->description == '\0') return "has no description";
  if ((ops->flags & ~kKnownFlags) != 0) return "has flags that this crab-lb does not know";
  if (auto why = why_functions_unusable(*ops); !why.empty()) return why;
  if (auto why = why_parameters_unusable(*ops); !why.empty()) return why;
  std::array<char, 256> message{};
  if (ops->self_test(message.data(), message.size()) == 0) return "";
  message.back() = '\0';
  return "fails its self-test: " + std::string(message.data());
}

void load_policy_plugins(const std::string& directory) {
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0 && errno == ENOENT) return;
  if (auto why = why_untrusted(directory, S_IFDIR, "directory"); !why.empty()) {
    return add_refused_plugin({directory, "", std::move(why)});
  }
  errno = 0;
  const auto files = list_objects(directory);
  if (files.empty() && errno != 0) {
    return add_refused_plugin({directory, "", error_text()});
  }
  for (const std::string& file : files) {
    const std::string path = directory + "/" + file;
    if (is_known_plugin(path)) continue;
    std::string name = file.substr(0, file.size() - kSuffix.size());
    std::string why;
    if (const auto* ops = load_plugin(path, &name, &why); ops != nullptr) {
      add_policy({ops, path});
    } else {
      add_refused_plugin({path, name, why});
    }
  }
}

}  // namespace crab
