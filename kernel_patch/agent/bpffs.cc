// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/bpffs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/bpf/layout.h"

namespace crab {
namespace {

namespace fs = std::filesystem;

constexpr char kBpffs[] = "/sys/fs/bpf";

std::string layout_name() { return fmt::format("v{}", CRAB_LAYOUT_VERSION); }

bool is_bpffs(const fs::path& path) {
  struct statfs fs_info {};
  return statfs(path.c_str(), &fs_info) == 0 && fs_info.f_type == BPF_FS_MAGIC;
}

// The part of path that exists.
fs::path existing_part(fs::path path) {
  while (!path.empty() && !fs::exists(path) && path != path.parent_path())
    path = path.parent_path();
  return path;
}

// Two agents that start at once must not mount one over the other.
void mount_bpffs() {
  const UniqueFd lock(open(kBpffs, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock || flock(lock.get(), LOCK_EX) != 0) {
    throw AgentError(fmt::format("{}: {}", kBpffs, std::generic_category().message(errno)));
  }
  if (is_bpffs(kBpffs)) return;
  if (mount("bpf", kBpffs, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0) {
    throw AgentError(fmt::format("cannot mount bpffs on {}: {}", kBpffs,
                                 std::generic_category().message(errno)));
  }
}

void refuse_other_layouts(const fs::path& path) {
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename();
    if (entry.is_directory() && name.starts_with('v') && name != layout_name()) {
      throw AgentError(
          fmt::format("{} holds maps of layout {}, this crab-agent has {}: run `crab-agent remove "
                      "--pin-dir {}` "
                      "of the version that made them first",
                      path.string(), name, layout_name(), path.string()));
    }
  }
}

}  // namespace

PinDirectory::PinDirectory(const std::string& path, UniqueFd lock)
    : path_(path), versioned_(path + "/" + layout_name()), lock_(std::move(lock)) {}

PinDirectory PinDirectory::claim(const std::string& path) {
  if (path == kBpffs || path.starts_with(std::string(kBpffs) + "/")) mount_bpffs();
  if (!is_bpffs(existing_part(path))) {
    throw AgentError(fmt::format("{} is not on a bpffs: mount -t bpf bpf {}", path, kBpffs));
  }
  std::error_code error;
  fs::create_directories(path + "/" + layout_name(), error);
  if (error) throw AgentError(fmt::format("cannot make {}: {}", path, error.message()));
  UniqueFd lock(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) throw AgentError(fmt::format("{}: {}", path, std::generic_category().message(errno)));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    throw AgentError(fmt::format(
        "another crab-agent has {}: stop it, or give this one another --pin-dir", path));
  }
  refuse_other_layouts(path);
  return PinDirectory(path, std::move(lock));
}

PinDirectory PinDirectory::of_installed(const std::string& path) {
  PinDirectory directory = unclaimed(path);
  if (!directory.has("endpoint") && !directory.has("settings")) {
    throw AgentError(
        fmt::format("no endpoint is installed at {}: `crab-agent run` installs it (and --pin-dir "
                    "names another)",
                    path));
  }
  return directory;
}

bool PinDirectory::has(const std::string& name) const { return fs::exists(pin(name)); }

void PinDirectory::unpin(const std::string& name) const {
  std::error_code ignored;
  fs::remove(pin(name), ignored);
}

void PinDirectory::clear() const {
  std::error_code ignored;
  fs::remove_all(versioned_, ignored);
}

}  // namespace crab
