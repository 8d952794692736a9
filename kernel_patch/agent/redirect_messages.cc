// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/redirect_messages.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/genetlink.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string_view>

#include "kernel_patch/agent/mapped_address.h"
#include "kernel_patch/uapi/tcp_redirect_counters.h"

namespace crab {
namespace {

static_assert(CRAB_ROLE_CLIENT == TCP_REDIRECT_ROLE_CLIENT &&
              CRAB_ROLE_SERVER == TCP_REDIRECT_ROLE_SERVER);
static_assert(CRAB_MAX_SERVICES <= TCP_REDIRECT_MAX_SERVICES &&
              CRAB_MAX_PREFIXES <= TCP_REDIRECT_MAX_PREFIXES &&
              CRAB_MAX_KEYS <= TCP_REDIRECT_MAX_KEYS);

constexpr std::size_t attribute_bytes(std::size_t payload) {
  return MNL_ATTR_HDRLEN + MNL_ALIGN(payload);
}
constexpr std::size_t kMaxServiceBytes =
    attribute_bytes(attribute_bytes(16) + attribute_bytes(2) + attribute_bytes(1) +
                    CRAB_MAX_KEYS * attribute_bytes(CRAB_KEY_LEN));
constexpr std::size_t kMaxPrefixBytes = attribute_bytes(attribute_bytes(16) + attribute_bytes(1));

void put_address(nlmsghdr* header, std::uint16_t type, const IpAddress& address) {
  mnl_attr_put(header, type, address.size(), address.bytes.data());
}

void put_service(nlmsghdr* header, const crab_service_key& key, const crab_service& terms) {
  nlattr* nest = mnl_attr_nest_start(header, TCP_REDIRECT_A_SERVICE);
  put_address(header, TCP_REDIRECT_SERVICE_A_ADDRESS, from_mapped(key.vip));
  mnl_attr_put_u16(header, TCP_REDIRECT_SERVICE_A_PORT, key.port);
  mnl_attr_put_u8(header, TCP_REDIRECT_SERVICE_A_FORM, terms.form);
  for (unsigned i = 0; i < terms.n_keys; ++i) {
    mnl_attr_put(header, TCP_REDIRECT_SERVICE_A_KEY, CRAB_KEY_LEN, terms.keys[i]);
  }
  mnl_attr_nest_end(header, nest);
}

void put_prefix(nlmsghdr* header, const crab_prefix& prefix) {
  const IpAddress address = from_mapped(prefix.addr);
  const unsigned in_front = address.is_v4() ? kMappedPrefixBits : 0;
  nlattr* nest = mnl_attr_nest_start(header, TCP_REDIRECT_A_PREFIX);
  put_address(header, TCP_REDIRECT_PREFIX_A_ADDRESS, address);
  mnl_attr_put_u8(header, TCP_REDIRECT_PREFIX_A_LENGTH,
                  static_cast<std::uint8_t>(prefix.length - in_front));
  mnl_attr_nest_end(header, nest);
}

std::vector<crab_prefix> without_repetitions(std::vector<crab_prefix> prefixes) {
  const auto order = [](const crab_prefix& a, const crab_prefix& b) {
    return std::memcmp(&a, &b, sizeof a) < 0;
  };
  const auto same = [](const crab_prefix& a, const crab_prefix& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
  };
  std::sort(prefixes.begin(), prefixes.end(), order);
  prefixes.erase(std::unique(prefixes.begin(), prefixes.end(), same), prefixes.end());
  return prefixes;
}

// The attributes of a message, or of one that nests, by type; a later one of a type wins.
class Attributes {
 public:
  explicit Attributes(const nlmsghdr* message) {
    mnl_attr_parse(message, sizeof(genlmsghdr), collect, this);
  }
  explicit Attributes(const nlattr* nest) { mnl_attr_parse_nested(nest, collect, this); }

  bool read(unsigned type, std::uint8_t* value) const { return read_bytes(type, value, 1); }
  bool read(unsigned type, std::uint16_t* value) const { return read_bytes(type, value, 2); }
  bool read(unsigned type, std::uint32_t* value) const { return read_bytes(type, value, 4); }
  bool read(unsigned type, std::uint64_t* value) const { return read_bytes(type, value, 8); }
  bool read(unsigned type, std::string* value) const {
    const nlattr* attribute = at(type);
    if (attribute == nullptr || mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) != 0) {
      return false;
    }
    *value = mnl_attr_get_str(attribute);
    return true;
  }
  bool read(unsigned type, IpAddress* value) const {
    const nlattr* attribute = at(type);
    if (attribute == nullptr) return false;
    const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
    const std::size_t length = mnl_attr_get_payload_len(attribute);
    if (length != 4 && length != 16) return false;
    *value = length == 4 ? IpAddress::v4(bytes) : IpAddress::v6(bytes);
    return true;
  }

 private:
  static int collect(const nlattr* attribute, void* self) {
    auto& by_type = static_cast<Attributes*>(self)->by_type_;
    const unsigned type = mnl_attr_get_type(attribute);
    if (type < by_type.size()) by_type[type] = attribute;
    return MNL_CB_OK;
  }
  const nlattr* at(unsigned type) const {
    return type < by_type_.size() ? by_type_[type] : nullptr;
  }
  bool read_bytes(unsigned type, void* value, std::size_t n) const {
    const nlattr* attribute = at(type);
    if (attribute == nullptr || mnl_attr_get_payload_len(attribute) != n) return false;
    std::memcpy(value, mnl_attr_get_payload(attribute), n);
    return true;
  }

  std::array<const nlattr*, 32> by_type_{};
};

// decode says whether the nested record is right. False as soon as one is not.
template <typename Decode>
bool decode_each(const nlmsghdr* message, unsigned type, const Decode& decode) {
  struct Walk {
    unsigned type;
    const Decode& decode;
    bool is_right = true;
  } walk{type, decode};
  mnl_attr_parse(
      message, sizeof(genlmsghdr),
      [](const nlattr* attribute, void* data) {
        auto* to = static_cast<Walk*>(data);
        if (mnl_attr_get_type(attribute) == to->type) {
          to->is_right = to->decode(Attributes(attribute));
        }
        return to->is_right ? MNL_CB_OK : MNL_CB_STOP;
      },
      &walk);
  return walk.is_right;
}

const char* meaning_of(std::string_view name) {
#define TCP_REDIRECT_COUNTER_MEANING(known, camel, meaning) \
  if (name == #known) return meaning;
  TCP_REDIRECT_COUNTERS(TCP_REDIRECT_COUNTER_MEANING)
#undef TCP_REDIRECT_COUNTER_MEANING
  return "";
}

std::string service_name(const nlattr* nest) {
  const Attributes fields(nest);
  IpAddress address;
  std::uint16_t port = 0;
  if (!fields.read(TCP_REDIRECT_SERVICE_A_ADDRESS, &address) ||
      !fields.read(TCP_REDIRECT_SERVICE_A_PORT, &port)) {
    return "";
  }
  return " " + SocketAddress{address, ntohs(port)}.to_string();
}

std::string prefix_name(const nlattr* nest) {
  const Attributes fields(nest);
  IpAddress address;
  std::uint8_t length = 0;
  if (!fields.read(TCP_REDIRECT_PREFIX_A_ADDRESS, &address) ||
      !fields.read(TCP_REDIRECT_PREFIX_A_LENGTH, &length)) {
    return "";
  }
  return fmt::format(" {}/{}", address.to_string(), length);
}

int keep(const nlattr* attribute, void* list) {
  static_cast<std::vector<const nlattr*>*>(list)->push_back(attribute);
  return MNL_CB_OK;
}

// The one that the offset is in, and how many of its type come before it.
struct Place {
  const nlattr* attribute = nullptr;
  unsigned index = 0;
};

Place find_place(const std::vector<const nlattr*>& attributes, const std::uint8_t* where) {
  std::map<unsigned, unsigned> seen;
  for (const nlattr* attribute : attributes) {
    const unsigned index = seen[mnl_attr_get_type(attribute)]++;
    const auto* begin = reinterpret_cast<const std::uint8_t*>(attribute);
    if (where >= begin && where < begin + mnl_attr_get_len(attribute)) return {attribute, index};
  }
  return {};
}

// Of the field in the nest that the offset points at; the nest itself has none.
std::string field_at(const nlattr* nest, const std::uint8_t* where) {
  if (where == reinterpret_cast<const std::uint8_t*>(nest)) return "";
  std::vector<const nlattr*> fields;
  mnl_attr_parse_nested(nest, keep, &fields);
  const nlattr* field = find_place(fields, where).attribute;
  if (field == nullptr) return "";
  const unsigned type = mnl_attr_get_type(field);
  if (mnl_attr_get_type(nest) == TCP_REDIRECT_A_PREFIX) {
    return type == TCP_REDIRECT_PREFIX_A_LENGTH ? ": length" : ": address";
  }
  if (type == TCP_REDIRECT_SERVICE_A_KEY) return ": keys";
  if (type == TCP_REDIRECT_SERVICE_A_FORM) return ": option_form";
  return type == TCP_REDIRECT_SERVICE_A_PORT ? ": port" : ": address";
}

}  // namespace

NetlinkMessage encode_command(tcp_redirect_cmd command) {
  return generic_netlink_message(static_cast<std::uint8_t>(command), TCP_REDIRECT_GENL_VERSION);
}

NetlinkMessage encode_set(unsigned roles, const EndpointConfig& config) {
  const std::vector<crab_prefix> prefixes = without_repetitions(config.prefixes);
  NetlinkMessage message =
      generic_netlink_message(TCP_REDIRECT_CMD_SET, TCP_REDIRECT_GENL_VERSION,
                              attribute_bytes(1) + config.services.size() * kMaxServiceBytes +
                                  prefixes.size() * kMaxPrefixBytes);
  nlmsghdr* header = header_of(&message);
  mnl_attr_put_u8(header, TCP_REDIRECT_A_ROLES, static_cast<std::uint8_t>(roles));
  for (const auto& [key, terms] : config.services) put_service(header, key, terms);
  for (const crab_prefix& prefix : prefixes) put_prefix(header, prefix);
  finish(&message);
  return message;
}

std::string attribute_at(const NetlinkMessage& request, std::uint32_t offset) {
  if (offset >= request.size()) return "";
  const auto* header = reinterpret_cast<const nlmsghdr*>(request.data());
  const std::uint8_t* where = request.data() + offset;
  std::vector<const nlattr*> attributes;
  mnl_attr_parse(header, sizeof(genlmsghdr), keep, &attributes);
  const auto [attribute, index] = find_place(attributes, where);
  if (attribute == nullptr) return "";
  switch (mnl_attr_get_type(attribute)) {
    case TCP_REDIRECT_A_ROLES:
      return "roles";
    case TCP_REDIRECT_A_SERVICE:
      return fmt::format("services[{}]{}{}", index, service_name(attribute),
                         field_at(attribute, where));
    default:
      return fmt::format("allowed_prefixes[{}]{}{}", index, prefix_name(attribute),
                         field_at(attribute, where));
  }
}

std::optional<RedirectInfo> decode_info(const nlmsghdr* message) {
  const Attributes fields(message);
  RedirectInfo info;
  std::uint8_t implementation = 0;
  std::uint8_t roles = 0;
  const bool is_whole = fields.read(TCP_REDIRECT_A_IMPLEMENTATION, &implementation) &&
                        fields.read(TCP_REDIRECT_A_VERSION, &info.version) &&
                        fields.read(TCP_REDIRECT_A_ROLES, &roles) &&
                        fields.read(TCP_REDIRECT_A_N_SERVICES, &info.n_services) &&
                        fields.read(TCP_REDIRECT_A_N_PREFIXES, &info.n_prefixes) &&
                        fields.read(TCP_REDIRECT_A_N_PENDING, &info.n_pending) &&
                        fields.read(TCP_REDIRECT_A_MAX_PENDING, &info.max_pending) &&
                        fields.read(TCP_REDIRECT_A_N_ECHOES, &info.n_echoes) &&
                        fields.read(TCP_REDIRECT_A_MAX_ECHOES, &info.max_echoes);
  if (!is_whole) return std::nullopt;
  info.implementation = implementation;
  info.roles = roles;
  return info;
}

bool decode_services(const nlmsghdr* message,
                     std::vector<std::pair<crab_service_key, crab_service>>* services) {
  return decode_each(message, TCP_REDIRECT_A_SERVICE, [services](const Attributes& fields) {
    IpAddress address;
    crab_service_key key{};
    crab_service terms{};
    if (!fields.read(TCP_REDIRECT_SERVICE_A_ADDRESS, &address) ||
        !fields.read(TCP_REDIRECT_SERVICE_A_PORT, &key.port) ||
        !fields.read(TCP_REDIRECT_SERVICE_A_FORM, &terms.form) ||
        !fields.read(TCP_REDIRECT_SERVICE_A_N_KEYS, &terms.n_keys)) {
      return false;
    }
    key.vip = to_mapped(address);
    services->emplace_back(key, terms);
    return true;
  });
}

bool decode_prefixes(const nlmsghdr* message, std::vector<crab_prefix>* prefixes) {
  return decode_each(message, TCP_REDIRECT_A_PREFIX, [prefixes](const Attributes& fields) {
    Prefix prefix;
    std::uint8_t length = 0;
    if (!fields.read(TCP_REDIRECT_PREFIX_A_ADDRESS, &prefix.address) ||
        !fields.read(TCP_REDIRECT_PREFIX_A_LENGTH, &length) || length > prefix.address.size() * 8) {
      return false;
    }
    prefix.length = length;
    prefixes->push_back(to_mapped(prefix));
    return true;
  });
}

bool decode_counters(const nlmsghdr* message, std::vector<CounterReading>* counters) {
  return decode_each(message, TCP_REDIRECT_A_COUNTER, [counters](const Attributes& fields) {
    CounterReading counter;
    if (!fields.read(TCP_REDIRECT_COUNTER_A_NAME, &counter.name) ||
        !fields.read(TCP_REDIRECT_COUNTER_A_VALUE, &counter.value)) {
      return false;
    }
    counter.meaning = meaning_of(counter.name);
    counters->push_back(std::move(counter));
    return true;
  });
}

bool decode_accepted(const nlmsghdr* message, std::vector<AcceptedReading>* accepted) {
  return decode_each(message, TCP_REDIRECT_A_ACCEPTED, [accepted](const Attributes& fields) {
    AcceptedReading reading;
    std::uint16_t port = 0;
    if (!fields.read(TCP_REDIRECT_ACCEPTED_A_ADDRESS, &reading.server.address) ||
        !fields.read(TCP_REDIRECT_ACCEPTED_A_PORT, &port) ||
        !fields.read(TCP_REDIRECT_ACCEPTED_A_NODE, &reading.node) || reading.node == 0 ||
        !fields.read(TCP_REDIRECT_ACCEPTED_A_COUNT, &reading.count)) {
      return false;
    }
    reading.server.port = ntohs(port);
    accepted->push_back(reading);
    return true;
  });
}

}  // namespace crab
