// SPDX-License-Identifier: Apache-2.0
// How the built-in policies' create() functions read their parameters. A message names the
// parameter, what was given and what is allowed, for the operator who wrote it.
#pragma once

#include <array>
#include <charconv>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <string>
#include <system_error>

#include "policies/policy.h"

namespace crab {

// Writes a message for the operator into an err buffer of the ABI; returns -1 for the caller to
// return.
[[gnu::format(printf, 3, 4)]] inline int policy_fail(char* err, size_t err_len, const char* format,
                                                     ...) {
  std::va_list args;
  va_start(args, format);
  std::vsnprintf(err, err_len, format, args);
  va_end(args);
  return -1;
}

// What create() was given, one call for each parameter that the policy has, and then finish():
//
//   PolicyParameters given(kv, n_kv, err, err_len);
//   given.whole("choices", 2, 16, &instance->choices);
//   given.real_or_zero("max_share", 1, 1000, &instance->max_share);
//   given.one_of("ties", {"lru", "random"}, &instance->ties);
//   if (given.finish() != 0) return -1;
//
// A parameter that was not given leaves its variable, the default, alone. The first error stays.
class PolicyParameters {
 public:
  PolicyParameters(const crab_policy_kv* kv, size_t n_kv, char* err, size_t err_len)
      : kv_(kv), n_kv_(n_kv), err_(err), err_len_(err_len) {}

  // Decimal digits only, within least..most. True if it was given, and is right.
  template <typename Unsigned>
  bool whole(const char* name, std::uint64_t least, std::uint64_t most, Unsigned* value) {
    const char* text = find(name);
    if (text == nullptr) return false;
    std::uint64_t number = 0;
    if (!parse(text, &number) || number < least || number > most) {
      return refuse("parameter '%s': '%s' is not a whole number from %llu to %llu", name, text,
                    static_cast<unsigned long long>(least), static_cast<unsigned long long>(most));
    }
    *value = static_cast<Unsigned>(number);
    return true;
  }

  // A finite number within least..most; "0.5" and "5e-1".
  bool real(const char* name, double least, double most, double* value) {
    const char* text = find(name);
    if (text == nullptr) return false;
    double number = 0;
    if (!parse(text, &number) || !(number >= least && number <= most)) {
      return refuse("parameter '%s': '%s' is not a number from %g to %g", name, text, least, most);
    }
    *value = number;
    return true;
  }

  // The same, or 0, which turns off what the number limits.
  bool real_or_zero(const char* name, double least, double most, double* value) {
    const char* text = find(name);
    if (text == nullptr) return false;
    double number = 0;
    if (!parse(text, &number) || (number != 0 && !(number >= least && number <= most))) {
      return refuse("parameter '%s': '%s' is neither 0 nor a number from %g to %g", name, text,
                    least, most);
    }
    *value = number;
    return true;
  }

  // The index of the word among those allowed, as an enumeration counted from zero or a number.
  template <typename Index>
  bool one_of(const char* name, std::initializer_list<const char*> words, Index* value) {
    const char* text = find(name);
    if (text == nullptr) return false;
    std::uint32_t index = 0;
    std::string allowed;
    for (const char* word : words) {
      if (std::strcmp(text, word) == 0) {
        *value = static_cast<Index>(index);
        return true;
      }
      allowed += (index++ == 0 ? "" : ", ") + std::string(word);
    }
    return refuse("parameter '%s': '%s' is none of %s", name, text, allowed.c_str());
  }

  // 0 if everything that was given is known and right; otherwise -1, and a message in err.
  int finish() {
    for (size_t i = 0; i < n_kv_ && !failed_; ++i) {
      if (!is_known(kv_[i].key)) refuse_unknown(kv_[i].key);
    }
    return failed_ ? -1 : 0;
  }

 private:
  static constexpr size_t kMaxKnown = 32;  // parameters of one policy

  template <typename Number>
  static bool parse(const char* text, Number* number) {
    const char* end = text + std::strlen(text);
    const auto [rest, error] = std::from_chars(text, end, *number);
    return error == std::errc() && rest == end;
  }

  // What was given for a parameter, nullptr if it was not.
  const char* find(const char* name) {
    known_.at(n_known_++) = name;
    const char* text = nullptr;
    for (size_t i = 0; i < n_kv_; ++i) {
      if (std::strcmp(kv_[i].key, name) != 0) continue;
      if (text != nullptr) refuse("parameter '%s' is given twice", name);
      text = kv_[i].value;
    }
    return text;
  }

  bool is_known(const char* name) const {
    for (size_t i = 0; i < n_known_; ++i) {
      if (std::strcmp(known_[i], name) == 0) return true;
    }
    return false;
  }

  void refuse_unknown(const char* name) {
    std::string all;
    for (size_t i = 0; i < n_known_; ++i) all += (i == 0 ? "" : ", ") + std::string(known_[i]);
    if (n_known_ == 0) {
      refuse("parameter '%s' is unknown; this policy has none", name);
    } else {
      refuse("parameter '%s' is unknown; this policy has %s", name, all.c_str());
    }
  }

  [[gnu::format(printf, 2, 3)]] bool refuse(const char* format, ...) {
    if (failed_) return false;
    failed_ = true;
    std::va_list args;
    va_start(args, format);
    std::vsnprintf(err_, err_len_, format, args);
    va_end(args);
    return false;
  }

  const crab_policy_kv* kv_;
  size_t n_kv_;
  char* err_;
  size_t err_len_;
  std::array<const char*, kMaxKnown> known_{};
  size_t n_known_ = 0;
  bool failed_ = false;
};

// For a policy without parameters: 0 if none was given, otherwise -1 and a message.
inline int policy_refuse_parameters(const crab_policy_kv* kv, size_t n_kv, char* err,
                                    size_t err_len) {
  return PolicyParameters(kv, n_kv, err, err_len).finish();
}

}  // namespace crab
