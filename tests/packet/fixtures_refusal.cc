// SPDX-License-Identifier: Apache-2.0
// What is answered with a RST, dropped for its flags or source, or not the appliance's business.
#include "tests/packet/fixtures.h"

namespace crab::test {

Frame rst_to(const Frame& segment) {
  Frame f;
  f.destination_mac = segment.source_mac;
  f.source_mac = segment.destination_mac;
  f.vlan = segment.vlan;
  f.source = segment.destination;
  f.destination = segment.source;
  f.source_port = segment.destination_port;
  f.destination_port = segment.source_port;
  f.ip_id = 0;
  f.window = 0;
  if ((segment.flags & ACK) != 0) {
    f.flags = RST;
    f.sequence = segment.acknowledgement;
  } else {
    f.flags = RST | ACK;
    f.sequence = 0;
    f.acknowledgement = segment.sequence + static_cast<std::uint32_t>(segment.payload.size()) +
                        ((segment.flags & SYN) != 0 ? 1U : 0U) +
                        ((segment.flags & FIN) != 0 ? 1U : 0U);
  }
  return f;
}

std::vector<Fixture> refusal_fixtures(Family family) {
  const Addresses& a = addresses(family);
  std::vector<Fixture> out;
  const auto change_of = [&](const std::function<void(Frame&)>& change) {
    Frame f = plain_syn(a);
    change(f);
    return f;
  };
  const auto answered = [&](const std::string& name, Verdict verdict,
                            const std::function<void(Frame&)>& change) {
    const Frame in = change_of(change);
    out.push_back({name, verdict, in.bytes(), rst_to(in).bytes()});
  };
  const auto dropped = [&](const std::string& name, Verdict verdict,
                           const std::function<void(Frame&)>& change) {
    out.push_back({name, verdict, change_of(change).bytes(), std::nullopt});
  };
  const auto untouched = [&](const std::string& name, Bytes in) {
    out.push_back({name, Verdict::Host, in, in});
  };

  answered("stray ACK", Verdict::NotSyn, [](Frame& f) {
    f.flags = ACK;
    f.acknowledgement = 0x55667788;
  });
  answered("stray data", Verdict::NotSyn, [](Frame& f) {
    f.flags = ACK | PSH;
    f.acknowledgement = 1;
    f.payload = Bytes(100, 1);
  });
  answered("late FIN", Verdict::NotSyn, [](Frame& f) { f.flags = FIN; });
  answered("no flags at all", Verdict::NotSyn, [](Frame& f) {
    f.flags = 0;
    f.payload = Bytes(5, 1);
  });
  answered("SYN-ACK to a service", Verdict::NotSyn, [](Frame& f) { f.flags = SYN | ACK; });
  answered("no offer", Verdict::NoOffer, [](Frame& f) { f.options = linux_options(); });
  answered("no options", Verdict::NoOffer, [](Frame& f) { f.options = {}; });
  answered("no offer, with data", Verdict::NoOffer, [](Frame& f) {
    f.options = linux_options();
    f.payload = Bytes(9, 1);
  });
  answered("offer behind EOL does not exist", Verdict::NoOffer, [&](Frame& f) {
    f.options = Bytes{1, 1, 1, 0} + offer(a.plain_form);
  });
  answered("short echo is no offer", Verdict::NoOffer, [](Frame& f) {
    f.options = {253, 4, 0xc4, 0xab};
  });
  answered("another experiment's option", Verdict::NoOffer, [](Frame& f) {
    f.options = {253, 4, 0x12, 0x34};
  });
  answered("kind 253 without an ExID", Verdict::NoOffer, [](Frame& f) {
    f.options = {253, 2, 254, 2};
  });
  answered("paper's option to a service of ours", Verdict::NoOffer,
           [&](Frame& f) { f.options = paper_option(ip("0.0.0.0")) + nops(2); });
  answered("offer of another form", Verdict::OfferForm, [&](Frame& f) {
    f.options = offer(family == Family::Ipv4 ? RedirectForm::Tag : RedirectForm::Address);
  });
  answered("offer too long by a tag", Verdict::OfferForm,
           [](Frame& f) { f.options = offer(RedirectForm::AddressTag); });
  answered("no eligible backend", Verdict::NoBackend, [&](Frame& f) { f.destination = a.empty; });

  dropped("RST", Verdict::Rst, [](Frame& f) { f.flags = RST; });
  dropped("RST|ACK", Verdict::Rst, [](Frame& f) { f.flags = RST | ACK; });
  dropped("SYN|FIN", Verdict::BadTcpFlags, [](Frame& f) { f.flags = SYN | FIN; });
  dropped("SYN|RST", Verdict::BadTcpFlags, [](Frame& f) { f.flags = SYN | RST; });
  dropped("policy out of range", Verdict::PolicyRange,
          [&](Frame& f) { f.destination = a.out_of_range; });
  dropped("TTL one", Verdict::TtlExpired, [](Frame& f) { f.ttl = 1; });
  dropped("TTL zero", Verdict::TtlExpired, [](Frame& f) { f.ttl = 0; });
  dropped("source is the service itself (land)", Verdict::BadSource,
          [&](Frame& f) { f.source = a.plain; });
  dropped("source is another service", Verdict::BadSource, [&](Frame& f) { f.source = a.keyed; });
  const bool v4 = family == Family::Ipv4;
  dropped("source loopback", Verdict::BadSource,
          [&](Frame& f) { f.source = ip(v4 ? "127.0.0.1" : "::1"); });
  dropped("source unspecified", Verdict::BadSource,
          [&](Frame& f) { f.source = ip(v4 ? "0.0.0.0" : "::"); });
  dropped("source multicast", Verdict::BadSource,
          [&](Frame& f) { f.source = ip(v4 ? "224.0.0.5" : "ff02::1"); });
  dropped("stray ACK from a bad source is not answered", Verdict::BadSource, [&](Frame& f) {
    f.flags = ACK;
    f.source = a.plain;
  });
  if (v4) {
    dropped("source broadcast", Verdict::BadSource,
            [](Frame& f) { f.source = ip("255.255.255.255"); });
  }

  const auto host = [&](const std::string& name, const std::function<void(Frame&)>& change) {
    untouched(name, change_of(change).bytes());
  };
  host("another port of a virtual address", [](Frame& f) { f.destination_port = 81; });
  host("the node's own address", [&](Frame& f) {
    f.destination = a.host;
    f.destination_port = 22;
  });
  host("UDP to a service's port", [](Frame& f) { f.protocol = 17; });
  host("ICMP", [&](Frame& f) { f.protocol = v4 ? 1 : 58; });
  host("to a group address", [](Frame& f) { f.destination_mac = {0x01, 0, 0x5e, 0, 0, 5}; });
  host("broadcast", [](Frame& f) { f.destination_mac = {255, 255, 255, 255, 255, 255}; });
  Bytes arp(42, 0);
  std::fill_n(arp.begin(), 6, std::uint8_t{0xff});
  arp[12] = 8;
  arp[13] = 6;
  untouched("ARP", arp);
  dropped("another station's frame", Verdict::OtherHost,
          [](Frame& f) { f.destination_mac = {0x02, 0, 0, 0, 0, 0x99}; });
  dropped("VLAN tag to a service", Verdict::VlanTag, [](Frame& f) { f.vlan = 100; });
  host("VLAN tag, not to a service", [](Frame& f) {
    f.vlan = 100;
    f.destination_port = 81;
  });
  return out;
}

}  // namespace crab::test
