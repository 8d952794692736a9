// SPDX-License-Identifier: Apache-2.0
#include "policies/least_key.h"

// GCC 12 warns of what its own header leaves undefined on purpose (GCC bug 105593).
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <algorithm>
#include <bit>

namespace crab {
namespace {

using Keys = const std::atomic<std::uint64_t>*;
static_assert(sizeof(std::atomic<std::uint64_t>) == sizeof(std::uint64_t));

bool is_out(Keys out, std::size_t i) {
  return (out[i / 64].load(std::memory_order_relaxed) >> (i % 64) & 1) != 0;
}

// The bits of eight keys, the first of them in bit 0.
unsigned out_of_eight(Keys out, std::size_t first) {
  return static_cast<unsigned>(out[first / 64].load(std::memory_order_relaxed) >> (first % 64)) &
         0xffU;
}

long long packed(KeyOrigin origin) {
  return static_cast<long long>(std::uint64_t{origin.estimate} << 32 | origin.tie);
}

void measure_plain(Keys keys, Keys out, std::size_t n, KeyOrigin origin, std::int64_t* distances) {
  for (std::size_t i = 0; i < n; ++i) {
    distances[i] =
        is_out(out, i) ? kFarthest : origin.distance(keys[i].load(std::memory_order_relaxed));
  }
}

Nearest nearest_plain(const std::int64_t* distances, std::size_t n) {
  const std::int64_t* least = std::min_element(distances, distances + n);
  return {static_cast<std::uint32_t>(least - distances), *least};
}

__attribute__((target("avx2"))) void measure_avx2(Keys keys, Keys out, std::size_t n,
                                                  KeyOrigin origin, std::int64_t* distances) {
  const __m256i at_origin = _mm256_set1_epi64x(packed(origin));
  const __m256i lanes = _mm256_setr_epi64x(1, 2, 4, 8);
  for (std::size_t i = 0; i < n; i += 4) {
    const auto* four = reinterpret_cast<const __m256i*>(keys + i);
    __m256i distance = _mm256_sub_epi32(_mm256_load_si256(four), at_origin);
    if (const unsigned left_out = out_of_eight(out, i) & 0xfU; left_out != 0) {
      const __m256i bits = _mm256_and_si256(_mm256_set1_epi64x(left_out), lanes);
      distance = _mm256_blendv_epi8(distance, _mm256_set1_epi64x(kFarthest),
                                    _mm256_cmpeq_epi64(bits, lanes));
    }
    _mm256_store_si256(reinterpret_cast<__m256i*>(distances + i), distance);
  }
}

__attribute__((target("avx2"))) Nearest nearest_avx2(const std::int64_t* distances, std::size_t n) {
  const auto at = [distances](std::size_t i) __attribute__((target("avx2"))) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(distances + i));
  };
  __m256i least = at(0);
  for (std::size_t i = 4; i < n; i += 4) {
    const __m256i four = at(i);
    least = _mm256_blendv_epi8(least, four, _mm256_cmpgt_epi64(least, four));
  }
  alignas(32) std::int64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), least);
  const std::int64_t distance = *std::min_element(lanes, lanes + 4);
  const __m256i wanted = _mm256_set1_epi64x(distance);
  for (std::size_t i = 0;; i += 4) {
    const __m256i equal = _mm256_cmpeq_epi64(at(i), wanted);
    const auto mask = static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(equal)));
    if (mask == 0) continue;
    return {static_cast<std::uint32_t>(i) + static_cast<std::uint32_t>(std::countr_zero(mask)),
            distance};
  }
}

__attribute__((target("avx512f"))) void measure_avx512(Keys keys, Keys out, std::size_t n,
                                                       KeyOrigin origin, std::int64_t* distances) {
  const __m512i at_origin = _mm512_set1_epi64(packed(origin));
  const __m512i farthest = _mm512_set1_epi64(kFarthest);
  for (std::size_t i = 0; i < n; i += 8) {
    const __m512i distance = _mm512_sub_epi32(_mm512_load_si512(keys + i), at_origin);
    const auto left_out = static_cast<__mmask8>(out_of_eight(out, i));
    _mm512_store_si512(distances + i, _mm512_mask_mov_epi64(distance, left_out, farthest));
  }
}

// Two passes, the value and then its place: shorter chains than one pass that carries both along,
// and no branch on where it is.
__attribute__((target("avx512f"))) Nearest nearest_avx512(const std::int64_t* distances,
                                                          std::size_t n) {
  __m512i least = _mm512_load_si512(distances);
  for (std::size_t i = 8; i < n; i += 8) {
    least = _mm512_min_epi64(least, _mm512_load_si512(distances + i));
  }
  const std::int64_t distance = _mm512_reduce_min_epi64(least);
  const __m512i wanted = _mm512_set1_epi64(distance);
  std::uint64_t places[kMaxScan / 64] = {};
  for (std::size_t i = 0; i < n; i += 8) {
    const __mmask8 equal = _mm512_cmpeq_epi64_mask(_mm512_load_si512(distances + i), wanted);
    places[i / 64] |= std::uint64_t{equal} << (i % 64);
  }
  const int place = places[0] != 0 ? std::countr_zero(places[0]) : 64 + std::countr_zero(places[1]);
  return {static_cast<std::uint32_t>(place), distance};
}

}  // namespace

KeyScans key_scans() {
  __builtin_cpu_init();
  KeyScans scans{{measure_plain, nearest_plain}, {nullptr, nullptr}, {nullptr, nullptr}};
  if (__builtin_cpu_supports("avx2")) scans.avx2 = {measure_avx2, nearest_avx2};
  if (__builtin_cpu_supports("avx512f")) scans.avx512 = {measure_avx512, nearest_avx512};
  return scans;
}

const KeyScan kKeyScan = [] {
  const KeyScans scans = key_scans();
  if (scans.avx512.measure != nullptr) return scans.avx512;
  return scans.avx2.measure != nullptr ? scans.avx2 : scans.plain;
}();

LeastKey find_least_key(const std::atomic<std::uint64_t>* keys,
                        const std::atomic<std::uint64_t>* out, std::size_t n, KeyOrigin origin) {
  alignas(64) std::int64_t distances[kMaxScan];
  LeastKey found;
  std::int64_t nearest = kFarthest;
  for (std::size_t first = 0; first < n; first += kMaxScan) {
    const std::size_t n_here = std::min(kMaxScan, n - first);
    kKeyScan.measure(keys + first, out + first / 64, n_here, origin, distances);
    const Nearest here = kKeyScan.nearest(distances, n_here);
    if (here.distance >= nearest) continue;
    nearest = here.distance;
    found = {static_cast<std::uint32_t>(first) + here.index, origin.key(nearest)};
  }
  return found;
}

}  // namespace crab
