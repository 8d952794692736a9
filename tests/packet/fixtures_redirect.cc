// SPDX-License-Identifier: Apache-2.0
// SYNs that are redirected, byte for byte.
#include "tests/packet/fixtures.h"

namespace crab::test {
namespace {

Tag expected_tag(const Frame& syn, const Addresses& a) {
  return make_tag(kKey, {.virtual_address = a.keyed,
                         .virtual_port = to_be(std::uint16_t{80}),
                         .backend_address = a.backend,
                         .backend_port = to_be(std::uint16_t{8080}),
                         .client_address = syn.source,
                         .client_port = to_be(syn.source_port),
                         .isn = to_be(syn.sequence)});
}

}  // namespace

Frame plain_syn(const Addresses& a) {
  Frame f;
  f.source = a.client;
  f.destination = a.plain;
  f.options = linux_options() + offer(a.plain_form);
  return f;
}

// Where the options are the usual ones: Linux's twenty bytes, then the offer.
Frame redirected(Frame f, const Addresses& a) {
  f.options = linux_options() + redirect(a.plain_form, kNode, f.destination, 80);
  f.destination_mac = kBackendMac;
  f.source_mac = kPortMac;
  f.destination = a.backend;
  f.destination_port = 8080;
  f.ttl = static_cast<std::uint8_t>(f.ttl - 1);
  return f;
}

std::vector<Fixture> redirect_fixtures(Family family) {
  const Addresses& a = addresses(family);
  std::vector<Fixture> out;
  // Applies one change to the plain SYN and the same change to what is expected.
  const auto add = [&](const std::string& name, const std::function<void(Frame&)>& change) {
    Frame in = plain_syn(a);
    change(in);
    Frame expected = redirected(plain_syn(a), a);
    change(expected);
    out.push_back({name, Verdict::Redirected, in.bytes(), expected.bytes()});
  };
  const auto add_options = [&](const std::string& name, const Bytes& before, const Bytes& after) {
    Frame in = plain_syn(a);
    in.options = before + offer(a.plain_form) + after;
    Frame expected = redirected(in, a);
    expected.options = before + redirect(a.plain_form, kNode, a.plain, 80) + after;
    out.push_back({name, Verdict::Redirected, in.bytes(), expected.bytes()});
  };

  add("plain SYN", [](Frame&) {});
  add("ECN SYN", [](Frame& f) { f.flags = SYN | ECE | CWR; });  // RFC 3168, 6.1.1
  add("SYN with PSH", [](Frame& f) { f.flags = SYN | PSH; });
  add("SYN with data (Fast Open)", [](Frame& f) { f.payload = Bytes(33, 0x5a); });
  add("short frame padded", [](Frame& f) { f.padding = 6; });
  add("wrong TCP checksum stays wrong", [](Frame& f) { f.checksum_error = 0x0101; });
  add("priority tag, VLAN zero", [](Frame& f) { f.vlan = 0xe000; });
  add("ISN and ports at their limits", [](Frame& f) {
    f.sequence = 0xffffffff;
    f.source_port = 65535;
  });
  add_options("option first", {}, linux_options());
  add_options("option at an odd offset", nops(1), nops(3));
  add_options("option between NOPs at an odd offset", linux_options() + nops(3), nops(1));
  add_options("option before EOL", linux_options(), {0});
  add_options("option after another experiment's", {253, 4, 0x12, 0x34}, {});
  add_options("exactly 40 bytes of options", nops(40 - length_of(a.plain_form)), {});
  add_options("option alone", {}, {});

  Frame keyed = plain_syn(a);
  keyed.destination = a.keyed;
  keyed.options = linux_options() + offer(a.keyed_form);
  Frame expected = redirected(keyed, a);
  expected.options =
      linux_options() + redirect(a.keyed_form, kNode, a.keyed, 80, expected_tag(keyed, a));
  out.push_back({"keyed service", Verdict::Redirected, keyed.bytes(), expected.bytes()});
  keyed.options = nops(1) + offer(a.keyed_form) + nops(3);
  expected.options =
      nops(1) + redirect(a.keyed_form, kNode, a.keyed, 80, expected_tag(keyed, a)) + nops(3);
  out.push_back(
      {"keyed service, odd offset", Verdict::Redirected, keyed.bytes(), expected.bytes()});

  if (family == Family::Ipv6) {
    add("hop-by-hop and destination options", [](Frame& f) {
      f.first_extension = 0;
      f.ip_options = Bytes{60, 0, 1, 4, 0, 0, 0, 0} + Bytes{6, 0, 1, 4, 0, 0, 0, 0};
    });
    add("atomic fragment (RFC 6946)", [](Frame& f) {
      f.first_extension = 44;
      f.ip_options = {6, 0, 0, 0, 1, 2, 3, 4};
    });
    return out;
  }
  add("IP options", [](Frame& f) { f.ip_options = {148, 4, 0, 0, 1, 1, 1, 0}; });

  Frame paper = plain_syn(a);
  paper.destination = a.paper;
  paper.options = linux_options();
  paper.payload = Bytes(17, 0x77);
  Frame inserted = redirected(paper, a);
  inserted.destination_port = 80;
  inserted.options = paper_option(a.paper) + nops(2) + linux_options();
  out.push_back({"paper form", Verdict::Redirected, paper.bytes(), inserted.bytes()});
  paper.options = Bytes(32, 1);
  inserted.options = paper_option(a.paper) + nops(2) + Bytes(32, 1);
  out.push_back({"paper form, exactly enough room", Verdict::Redirected, paper.bytes(),
                 inserted.bytes(), false, 8});
  paper.options = {};
  paper.ip_options = {1, 1, 1, 0};
  inserted.ip_options = paper.ip_options;
  inserted.options = paper_option(a.paper) + nops(2);
  out.push_back({"paper form, IP options, odd payload", Verdict::Redirected, paper.bytes(),
                 inserted.bytes()});
  return out;
}

}  // namespace crab::test
