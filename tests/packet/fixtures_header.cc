// SPDX-License-Identifier: Apache-2.0
// Headers that are cut, malformed or unusual.
#include "tests/packet/fixtures.h"

namespace crab::test {

std::vector<Fixture> header_fixtures(Family family) {
  const Addresses& a = addresses(family);
  const bool v4 = family == Family::Ipv4;
  const Bytes whole = plain_syn(a).bytes();
  std::vector<Fixture> out;
  const auto cut = [&](const std::string& name, std::size_t length) {
    out.push_back({name, Verdict::Truncated,
                   Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)),
                   std::nullopt});
  };
  const auto patched = [&](const std::string& name, Verdict verdict, std::size_t at,
                           std::uint8_t value) {
    Bytes bytes = whole;
    bytes[at] = value;
    out.push_back({name, verdict, bytes, std::nullopt});
  };
  const auto changed = [&](const std::string& name, Verdict verdict,
                           const std::function<void(Frame&)>& change) {
    Frame f = plain_syn(a);
    change(f);
    out.push_back({name, verdict, f.bytes(), std::nullopt});
  };

  cut("one byte", 1);
  cut("cut in the Ethernet header", 13);
  cut("Ethernet header alone", 14);
  cut("cut in the IP header", 14 + 19);
  cut("cut in the TCP options", whole.size() - 1);
  patched("IP version", Verdict::BadIpHeader, 14, v4 ? 0x55 : 0x50);
  changed("TCP header of 16 bytes", Verdict::BadTcpHeader, [](Frame& f) { f.data_offset = 4; });
  changed("TCP header of 0 bytes", Verdict::BadTcpHeader, [](Frame& f) { f.data_offset = 0; });
  changed("TCP header beyond the packet", Verdict::BadTcpHeader,
          [](Frame& f) { f.data_offset = 15; });
  out.push_back({"checksum refused by the NIC", Verdict::BadChecksum, whole, std::nullopt, true});
  Frame tagged = plain_syn(a);
  tagged.vlan = 0;
  Bytes bytes = tagged.bytes();
  bytes.resize(17);
  out.push_back({"cut in the VLAN tag", Verdict::Truncated, bytes, std::nullopt});

  // The IP packet ends inside the TCP header.
  Bytes short_tcp = whole;
  const auto set_ip_payload = [&](std::size_t length) {
    short_tcp[v4 ? 17 : 19] = static_cast<std::uint8_t>(v4 ? 20 + length : length);
  };
  set_ip_payload(19);
  out.push_back({"TCP header cut by the IP length", Verdict::Truncated, short_tcp, std::nullopt});
  set_ip_payload(0);
  out.push_back({"no TCP header at all", Verdict::Truncated, short_tcp, std::nullopt});

  const auto fragment = [&](Frame& f, std::uint16_t offset_and_flags) {
    if (v4) {
      f.fragment = offset_and_flags;
      return;
    }
    const auto units = static_cast<std::uint16_t>((offset_and_flags & 0x1fff) << 3 |
                                                  ((offset_and_flags & 0x2000) != 0 ? 1 : 0));
    f.first_extension = 44;
    f.ip_options = {
        6, 0, static_cast<std::uint8_t>(units >> 8), static_cast<std::uint8_t>(units), 0, 0, 0, 1};
  };
  changed("first fragment", Verdict::Fragment, [&](Frame& f) { fragment(f, 0x2000); });
  changed("middle fragment", Verdict::Fragment, [&](Frame& f) { fragment(f, 0x2010); });
  changed("last fragment", Verdict::Fragment, [&](Frame& f) { fragment(f, 0x0010); });
  changed("fragment to the node itself", Verdict::Host, [&](Frame& f) {
    fragment(f, 0x2000);
    f.destination = a.host;
  });

  if (v4) {
    patched("IP header of 16 bytes", Verdict::BadIpHeader, 14, 0x44);
    patched("IP header longer than the packet", Verdict::BadIpHeader, 17, 16);
    return out;
  }
  const Bytes padding_header = {60, 0, 1, 4, 0, 0, 0, 0};
  changed("nine extension headers", Verdict::ExtensionHeaders, [&](Frame& f) {
    f.first_extension = 60;
    for (int i = 0; i < 8; ++i) f.ip_options = f.ip_options + padding_header;
    f.ip_options = f.ip_options + Bytes{6, 0, 1, 4, 0, 0, 0, 0};
  });
  changed("extension header beyond the packet", Verdict::Truncated, [](Frame& f) {
    f.first_extension = 60;
    f.ip_options = {6, 255, 1, 4, 0, 0, 0, 0};
  });
  changed("routing header with segments left", Verdict::Host, [](Frame& f) {
    f.first_extension = 43;
    f.ip_options = {6, 0, 0, 1, 0, 0, 0, 0};
  });
  changed("ESP is Linux's", Verdict::Host, [](Frame& f) { f.first_extension = 50; });
  return out;
}

std::vector<Fixture> option_fixtures(Family family) {
  const Addresses& a = addresses(family);
  const Bytes good = offer(a.plain_form);
  std::vector<Fixture> out;
  const auto malformed = [&](const std::string& name, const Bytes& options) {
    Frame f = plain_syn(a);
    f.options = options;
    out.push_back({name, Verdict::MalformedOption, f.bytes(), std::nullopt});
  };
  const auto with = [&](std::size_t at, std::uint8_t value) {
    Bytes option = good;
    option[at] = value;
    return option;
  };

  malformed("option of length zero", Bytes{2, 0, 0, 0} + good);
  malformed("option of length one", Bytes{2, 1, 0, 0} + good);
  malformed("length byte missing", linux_options() + nops(3) + Bytes{5});
  malformed("length beyond the list", Bytes{2, 60, 0, 0} + good);
  malformed("own length zero", with(1, 0));
  malformed("own length five", with(1, 5));
  malformed("own length eight", with(1, 8));
  malformed("own length that fits no form", with(1, static_cast<std::uint8_t>(good.size() - 1)));
  malformed("two offers", good + good);
  malformed("offer and the paper's option", good + paper_option(ip("0.0.0.0")) + nops(2));
  malformed("offer and a short echo", good + Bytes{253, 4, 0xc4, 0xab});
  malformed("version zero", with(4, static_cast<std::uint8_t>(good[4] & 0x0f)));
  malformed("version two", with(4, static_cast<std::uint8_t>(0x20 | (good[4] & 0x0f))));
  malformed("reserved flag", with(4, good[4] | 0x08));
  malformed("flags of another form", with(4, static_cast<std::uint8_t>(good[4] ^ 0x06)));
  malformed("no flags", with(4, 0x10));
  malformed("offer with a node", with(5, 1));
  malformed("offer with a port", with(7, 80));
  malformed("offer with an address or tag", with(8, 1));
  malformed("offer with a last byte", with(good.size() - 1, 1));
  malformed("redirect by node zero", with(4, good[4] | 0x01));
  malformed("paper's option of length five", Bytes{42, 5, 0, 0, 0, 1, 1, 1} + good);

  Frame filled = plain_syn(a);
  filled.options = linux_options() + redirect(a.plain_form, 9, a.plain, 80);
  out.push_back(
      {"another node's redirect", Verdict::AlreadyRedirected, filled.bytes(), std::nullopt});
  if (family == Family::Ipv6) return out;

  Frame paper = plain_syn(a);
  paper.destination = a.paper;
  paper.options = nops(36);
  out.push_back({"paper form, 36 bytes of options", Verdict::NoRoom, paper.bytes(), std::nullopt});
  paper.options = nops(4);
  out.push_back(
      {"paper form, no headroom", Verdict::NoRoom, paper.bytes(), std::nullopt, false, 7});
  paper.payload = Bytes(1500 - 20 - 24 - 7, 1);
  out.push_back({"paper form, beyond the MTU", Verdict::NoRoom, paper.bytes(), std::nullopt});
  paper.payload = {};
  paper.options = paper_option(a.paper) + nops(2);
  out.push_back(
      {"paper form, already there", Verdict::AlreadyRedirected, paper.bytes(), std::nullopt});
  paper.options = offer(RedirectForm::Address);
  out.push_back(
      {"paper form, an offer of ours", Verdict::OfferForm, paper.bytes(), rst_to(paper).bytes()});
  return out;
}

}  // namespace crab::test
