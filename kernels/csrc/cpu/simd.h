// Vectors of one instruction set, on the compiler's vector extension: LANES floats a register.
//
// Included once per instruction set, after the target pragma, inside a namespace of its own; so nothing here may come
// from a header that another instruction set shares.
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint16_t vh __attribute__((vector_size(LANES * 2)));
typedef float vf_any __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef uint32_t vu_any __attribute__((vector_size(LANES * 4), aligned(2), may_alias));
typedef uint16_t vh_any __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

struct bf16 {
  uint16_t bits;
};

// One broadcast: the vector extension's `vf{} + x` is an addition too, since it makes -0 a 0.
#if LANES == 16
INLINE vf fill(float x) { return (vf)_mm512_set1_ps(x); }
#elif LANES == 8
INLINE vf fill(float x) { return (vf)_mm256_set1_ps(x); }
#else
INLINE vf fill(float x) { return vf{x, x, x, x}; }
#endif
INLINE vf load(const float* p) { return *reinterpret_cast<const vf_any*>(p); }
INLINE void store(float* p, vf v) { *reinterpret_cast<vf_any*>(p) = v; }

INLINE vf relu(vf v) {
#if LANES == 16
  return (vf)_mm512_maskz_max_ps(0xffff, (__m512)v, _mm512_setzero_ps());  // the plain one warns in GCC 12
#elif LANES == 8
  return (vf)_mm256_max_ps((__m256)v, _mm256_setzero_ps());
#else
  return v > 0 ? v : vf{};
#endif
}

// bfloat16 as the upper half of a float32, rounded to nearest even. NaN may become infinite; activations have none.
INLINE vf widen(vh v) { return (vf)(__builtin_convertvector(v, vu) << 16); }
INLINE vu rounded(vf v) {
  vu bits = (vu)v;
  return bits + 0x7fff + ((bits >> 16) & 1);
}
INLINE vf load(const bf16* p) { return widen(*reinterpret_cast<const vh_any*>(p)); }
INLINE void store(bf16* p, vf v) { *reinterpret_cast<vh_any*>(p) = __builtin_convertvector(rounded(v) >> 16, vh); }

// Two vectors at once: channels 0..LANES-1 and LANES..2·LANES-1.
INLINE void store2(float* p, vf lo, vf hi) {
  store(p, lo);
  store(p + LANES, hi);
}
INLINE void store2(bf16* p, vf lo, vf hi) {
#if BF16_DOT
  *reinterpret_cast<vu_any*>(p) = (vu)_mm512_cvtne2ps_pbh((__m512)hi, (__m512)lo);
#else
  store(p, lo);
  store(p + LANES, hi);
#endif
}

// Even and odd channels of 2·LANES bfloat16: one operation each, where unpacking in order would take two.
INLINE vf even(vu pair) { return (vf)(pair << 16); }
INLINE vf odd(vu pair) { return (vf)(pair & 0xffff0000u); }
INLINE void store_pair(bf16* p, vf e, vf o) {
#if BF16_DOT
  // [e | o] → e0 o0 e1 o1 …
  static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  __m512i packed = (__m512i)_mm512_cvtne2ps_pbh((__m512)o, (__m512)e);
  _mm512_storeu_si512(p, _mm512_permutexvar_epi16(_mm512_loadu_si512(order), packed));
#else
  *reinterpret_cast<vu_any*>(p) = (rounded(e) >> 16) | (rounded(o) & 0xffff0000u);
#endif
}
INLINE vu load_pair(const bf16* p) { return *reinterpret_cast<const vu_any*>(p); }

INLINE uint16_t to_bf16(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
INLINE void put(float* p, float x) { *p = x; }
INLINE void put(bf16* p, float x) { p->bits = to_bf16(x); }
