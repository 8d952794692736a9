// SPDX-License-Identifier: Apache-2.0
// Every way a packet can leave the pipeline. One name, one counter and at least one packet test
// each; the sum over all of them is what was received (conservation, docs/architecture.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace crab {

enum class VerdictClass : std::uint8_t { Redirected, Answered, Host, Dropped };

// clang-format off
// X(enumerator, counter name, class, what it means)
#define CRAB_VERDICTS(X) \
  X(Redirected,        "redirected",          Redirected, "SYN sent to a backend with its option filled") \
  X(Host,              "host",                Host,    "handed to Linux over the host interface") \
  X(NotSyn,            "not_syn",             Answered, "TCP other than a SYN to a service: RST") \
  X(NoOffer,           "no_offer",            Answered, "SYN without an offer: RST") \
  X(OfferForm,         "offer_form",          Answered, "offer of a form the service does not use: RST") \
  X(NoBackend,         "no_backend",          Answered, "no eligible backend: RST") \
  X(AnswerLimited,     "answer_limited",      Dropped, "an answer was due, but the rate limit was reached") \
  X(Rst,               "rst",                 Dropped, "RST to a service: never answered (RFC 9293, 3.5.2)") \
  X(OtherHost,         "other_host",          Dropped, "frame to another station's MAC address") \
  X(Truncated,         "truncated",           Dropped, "frame shorter than its headers say") \
  X(BadIpHeader,       "bad_ip_header",       Dropped, "IP header that breaks RFC 791 or RFC 8200") \
  X(ExtensionHeaders,  "extension_headers",   Dropped, "more than 8 IPv6 extension headers, or too long") \
  X(BadTcpHeader,      "bad_tcp_header",      Dropped, "TCP data offset below 5 or beyond the packet") \
  X(BadChecksum,       "bad_checksum",        Dropped, "the NIC found the IP or TCP checksum wrong") \
  X(BadTcpFlags,       "bad_tcp_flags",       Dropped, "SYN together with FIN or RST") \
  X(MalformedOption,   "malformed_option",    Dropped, "TCP option list or redirect option malformed") \
  X(AlreadyRedirected, "already_redirected",  Dropped, "SYN whose option another node filled: a loop") \
  X(BadSource,         "bad_source",          Dropped, "source is a VIP, loopback, multicast, broadcast or zero") \
  X(TtlExpired,        "ttl_expired",         Dropped, "TTL or hop limit would reach zero") \
  X(Fragment,          "fragment",            Dropped, "IP fragment to a virtual address") \
  X(VlanTag,           "vlan_tag",            Dropped, "tagged frame to a service: ports carry one VLAN") \
  X(NoRoom,            "no_room",             Dropped, "paper form: no room for the option in header or frame") \
  X(PolicyRange,       "policy_range",        Dropped, "the policy chose an index out of range") \
  X(HostFull,          "host_full",           Dropped, "the host path's ring was full") \
  X(TxFull,            "tx_full",             Dropped, "the port's transmit queue was full")
// clang-format on

enum class Verdict : std::uint8_t {
#define CRAB_X(name, text, klass, meaning) name,
  CRAB_VERDICTS(CRAB_X)
#undef CRAB_X
};

inline constexpr std::size_t kVerdictCount = 0
#define CRAB_X(name, text, klass, meaning) +1
    CRAB_VERDICTS(CRAB_X)
#undef CRAB_X
    ;

// The counter's name, as metrics, crabctl and test fixtures show it.
constexpr std::string_view name_of(Verdict v) {
  constexpr std::string_view kNames[] = {
#define CRAB_X(name, text, klass, meaning) text,
      CRAB_VERDICTS(CRAB_X)
#undef CRAB_X
  };
  return kNames[static_cast<std::size_t>(v)];
}

constexpr VerdictClass class_of(Verdict v) {
  constexpr VerdictClass kClasses[] = {
#define CRAB_X(name, text, klass, meaning) VerdictClass::klass,
      CRAB_VERDICTS(CRAB_X)
#undef CRAB_X
  };
  return kClasses[static_cast<std::size_t>(v)];
}

constexpr std::string_view meaning_of(Verdict v) {
  constexpr std::string_view kMeanings[] = {
#define CRAB_X(name, text, klass, meaning) meaning,
      CRAB_VERDICTS(CRAB_X)
#undef CRAB_X
  };
  return kMeanings[static_cast<std::size_t>(v)];
}

}  // namespace crab
