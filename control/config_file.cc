// SPDX-License-Identifier: Apache-2.0
#include "control/config_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <system_error>

namespace crab {

ConfigFile ConfigFile::load(const std::string& path) {
  ConfigFile unreadable(path);
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string text;
  // One byte more than allowed tells "too long" from "just fits"; a directory opens, and fails
  // here.
  if (in) {
    text.resize(kMaxConfigBytes + 1);
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(in.gcount()));
  }
  if (!in.is_open() || in.bad()) {
    const int error = errno != 0 ? errno : EIO;
    unreadable.add_error(0, "cannot be read: " + std::generic_category().message(error));
    return unreadable;
  }
  if (text.size() > kMaxConfigBytes) {
    unreadable.add_error(0, "is longer than 64 MiB");
    return unreadable;
  }
  return parse(text, path);
}

ConfigFile ConfigFile::parse(const std::string& text, const std::string& name) {
  ConfigFile file(name);
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.empty() || documents.front().IsNull()) {
      file.add_error(0, "is empty");
    } else if (documents.size() > 1) {
      file.add_error(documents[1].Mark().line + 1, "a second YAML document; one is the limit");
    } else {
      file.readable_ = true;
      file.add_errors(read_yaml(documents.front(), &file.config_, &file.lines_));
    }
  } catch (const YAML::Exception& e) {
    file.add_error(e.mark.is_null() ? 0 : e.mark.line + 1, "not valid YAML: " + e.msg);
  }
  return file;
}

void ConfigFile::add_errors(const FieldErrors& found) {
  const auto known = in_error_;
  for (const auto& [field, why] : found) {
    if (known.contains(field)) continue;
    in_error_.insert(field);
    add_error(lines_.find(field), field.empty() ? why : field + ": " + why);
  }
}

void ConfigFile::add_error(int line, const std::string& text) { errors_.emplace_back(line, text); }

std::vector<std::string> ConfigFile::errors() const {
  auto ordered = errors_;
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> lines;
  for (const auto& [line, text] : ordered) {
    lines.push_back(name_ + (line > 0 ? ":" + std::to_string(line) : "") + ": " + text);
  }
  return lines;
}

}  // namespace crab
