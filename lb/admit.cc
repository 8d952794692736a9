// SPDX-License-Identifier: Apache-2.0
#include "lb/admit.h"

#include "lb/parse.h"

namespace crab {
namespace {

bool is_bad_source(const Packet& packet, const Snapshot& snapshot) {
  const std::uint8_t* address = packet.source_address();
  return is_unusable(packet.family, address) || snapshot.is_virtual(packet.family, address);
}

std::uint8_t time_to_live(const Packet& packet) {
  return packet.l3()[packet.family == Family::Ipv4 ? 8 : 7];
}

// What the option list says, for a service of the given form; Redirected means go on.
Verdict check_option(Packet& packet, const ServiceEntry& service, const PortSettings& port) {
  const std::span options(packet.l4() + kTcpHeaderMin, packet.tcp_header_length() - kTcpHeaderMin);
  const FoundOption found = find_redirect_option_after_linux(options);
  packet.option_offset = found.offset;
  switch (found.state) {
    case OptionState::Malformed:
      return Verdict::MalformedOption;
    case OptionState::Redirect:
      return Verdict::AlreadyRedirected;
    case OptionState::Paper:
      return service.form == RedirectForm::Paper ? Verdict::AlreadyRedirected : Verdict::NoOffer;
    case OptionState::Offer:
      return found.form == service.form ? Verdict::Redirected : Verdict::OfferForm;
    case OptionState::ShortEcho:
      return Verdict::NoOffer;
    case OptionState::Absent:
      break;
  }
  if (service.form != RedirectForm::Paper) return Verdict::NoOffer;
  const std::uint32_t ip_length = packet.l4_offset + packet.l4_length - packet.l3_offset;
  const bool fits = options.size() + CRAB_PAPER_INSERT_LEN <= CRAB_TCP_OPTIONS_MAX &&
                    ip_length + CRAB_PAPER_INSERT_LEN <= port.mtu &&
                    packet.headroom >= CRAB_PAPER_INSERT_LEN;
  return fits ? Verdict::Redirected : Verdict::NoRoom;
}

Verdict check(Packet& packet, const ServiceEntry& service, const Snapshot& snapshot,
              const PortSettings& port) {
  const std::uint8_t header_length = packet.tcp_header_length();
  if (header_length < kTcpHeaderMin || header_length > packet.l4_length) {
    return Verdict::BadTcpHeader;
  }
  // Before anything that may be answered: an answer to a forged source would hit a bystander.
  if (is_bad_source(packet, snapshot)) return Verdict::BadSource;
  const std::uint8_t flags = packet.tcp_flags();
  if ((flags & (kSyn | kRst | kFin | kAck)) != kSyn) {
    if ((flags & kSyn) != 0 && (flags & (kRst | kFin)) != 0) return Verdict::BadTcpFlags;
    return (flags & kRst) != 0 ? Verdict::Rst : Verdict::NotSyn;
  }
  if (time_to_live(packet) <= 1) return Verdict::TtlExpired;
  const Verdict option = check_option(packet, service, port);
  if (option != Verdict::Redirected) return option;
  return service.backends.empty() ? Verdict::NoBackend : Verdict::Redirected;
}

}  // namespace

void admit(Burst& burst, const Snapshot& snapshot, std::span<const PortSettings> ports,
           WorkerCounters& counters) {
  burst.filter([&](Packet& packet) {
    const ServiceEntry& service = snapshot.service(packet.service);
    packet.verdict = check(packet, service, snapshot, ports[packet.ingress_port]);
    if (packet.verdict == Verdict::Redirected) return true;
    counters.count_refusal(service.id);
    return false;
  });
}

}  // namespace crab
