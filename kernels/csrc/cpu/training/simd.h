// Vectors of one instruction set, BYTES wide, of float or double, on the compiler's vector extension.
//
// Included once per instruction set, after the target pragma, inside a namespace of its own; so nothing here may come
// from a header that another instruction set shares, and no template of the standard library may be used.
//
// The same bits whatever BYTES is: a channel stays in its lane, every sum over pixels is taken in the order of pixels,
// no sum is taken across lanes, and a product is fused with the sum that follows where `fma` says so and nowhere else
// (-ffp-contract=off).
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(BYTES)));
typedef double vd __attribute__((vector_size(BYTES)));

template <class T>
struct Real;

template <>
struct Real<float> {
  typedef vf vector;
  typedef float any __attribute__((vector_size(BYTES), aligned(4), may_alias));
  typedef int32_t ints __attribute__((vector_size(BYTES)));
  static constexpr int mantissa = 23, bias = 127, exp_terms = 7, log_terms = 5;
  static constexpr float lowest = -87, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float round = 12582912.0f;  // 1.5·2²³: adding it rounds to whole numbers
};

template <>
struct Real<double> {
  typedef vd vector;
  typedef double any __attribute__((vector_size(BYTES), aligned(8), may_alias));
  typedef int64_t ints __attribute__((vector_size(BYTES)));
  static constexpr int mantissa = 52, bias = 1023, exp_terms = 13, log_terms = 12;
  static constexpr double lowest = -708, ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr double round = 6755399441055744.0;
};

template <class T>
using V = typename Real<T>::vector;

template <class T>
constexpr int LANES = BYTES / static_cast<int>(sizeof(T));

// Channels of a map in memory: whole vectors, the rest zeros.
template <class T>
constexpr int padded(int channels) {
  return (channels + LANES<T> - 1) / LANES<T> * LANES<T>;
}

// One broadcast each: the vector extension's `V<T>{} + x` is an addition too, since it makes -0 a 0.
#if BYTES == 64
INLINE vf fill(float x) { return (vf)_mm512_set1_ps(x); }
INLINE vd fill(double x) { return (vd)_mm512_set1_pd(x); }
#elif BYTES == 32
INLINE vf fill(float x) { return (vf)_mm256_set1_ps(x); }
INLINE vd fill(double x) { return (vd)_mm256_set1_pd(x); }
#else
INLINE vf fill(float x) { return vf{x, x, x, x}; }
INLINE vd fill(double x) { return vd{x, x}; }
#endif
template <class T>
INLINE V<T> load(const T* p) {
  return *reinterpret_cast<const typename Real<T>::any*>(p);
}
template <class T>
INLINE void store(T* p, V<T> v) {
  *reinterpret_cast<typename Real<T>::any*>(p) = v;
}

template <class T>
INLINE void add_to(T* p, V<T> v) {
  store(p, load(p) + v);
}

#if BYTES == 64
INLINE vf fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE vd fma(vd a, vd b, vd c) { return (vd)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
// The greater of 0 and v; a NaN stays one. The unmasked ones warn in GCC 12.
INLINE vf relu(vf v) { return (vf)_mm512_maskz_max_ps(0xffff, _mm512_setzero_ps(), (__m512)v); }
INLINE vd relu(vd v) { return (vd)_mm512_maskz_max_pd(0xff, _mm512_setzero_pd(), (__m512d)v); }
INLINE vf root(vf v) { return (vf)_mm512_maskz_sqrt_ps(0xffff, (__m512)v); }
INLINE vd root(vd v) { return (vd)_mm512_maskz_sqrt_pd(0xff, (__m512d)v); }
#elif BYTES == 32
INLINE vf fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE vd fma(vd a, vd b, vd c) { return (vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
INLINE vf relu(vf v) { return (vf)_mm256_max_ps(_mm256_setzero_ps(), (__m256)v); }
INLINE vd relu(vd v) { return (vd)_mm256_max_pd(_mm256_setzero_pd(), (__m256d)v); }
INLINE vf root(vf v) { return (vf)_mm256_sqrt_ps((__m256)v); }
INLINE vd root(vd v) { return (vd)_mm256_sqrt_pd((__m256d)v); }
#else
INLINE vf fma(vf a, vf b, vf c) {
  for (int i = 0; i < LANES<float>; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
}
INLINE vd fma(vd a, vd b, vd c) {
  for (int i = 0; i < LANES<double>; ++i) c[i] = __builtin_fma(a[i], b[i], c[i]);
  return c;
}
INLINE vf relu(vf v) { return v < 0 ? vf{} : v; }
INLINE vd relu(vd v) { return v < 0 ? vd{} : v; }
INLINE vf root(vf v) {
  for (int i = 0; i < LANES<float>; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
}
INLINE vd root(vd v) {
  for (int i = 0; i < LANES<double>; ++i) v[i] = __builtin_sqrt(v[i]);
  return v;
}
#endif

// v where m > 0, else 0: the gradient of a ReLU.
INLINE vf passed(vf v, vf m) { return m > 0 ? v : vf{}; }
INLINE vd passed(vd v, vd m) { return m > 0 ? v : vd{}; }

constexpr double INVERSE_FACTORIALS[] = {
    1.,        1.,         1. / 2,      1. / 6,       1. / 24,       1. / 120,       1. / 720,
    1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800};

// e^x to rounding, for x ≤ 0 and little above: a power of 2 by the exponent's bits, and Taylor's series.
template <class T>
INLINE V<T> exponential(V<T> x) {
  using R = Real<T>;
  x = x < R::lowest ? fill(R::lowest) : x;
  const V<T> shifted = fma(x, fill(T(1.44269504088896340736)), fill(R::round)), n = shifted - R::round;
  const V<T> r = fma(n, fill(-R::ln2_low), fma(n, fill(-R::ln2_high), x));
  V<T> y = fill(T(INVERSE_FACTORIALS[R::exp_terms]));
#pragma GCC unroll 16
  for (int i = R::exp_terms - 1; i >= 0; --i) y = fma(y, r, fill(T(INVERSE_FACTORIALS[i])));
  const auto whole = (typename R::ints)shifted - (typename R::ints)fill(R::round);
  return y * (V<T>)((whole + R::bias) << R::mantissa);
}

// ln x for x ≥ 1: 2·artanh((m - 1)/(m + 1)) of the mantissa, and the exponent times ln 2. NaN stays NaN.
template <class T>
INLINE V<T> logarithm(V<T> x) {
  using R = Real<T>;
  typedef typename R::ints I;
  const I one = (I)fill(T(1)), bits = (I)x;
  I e = (bits >> R::mantissa) - R::bias;
  V<T> m = (V<T>)((bits & ((one & -one) - 1)) | one);
  const I large = m > T(1.41421356237309504880);
  m = large ? m * T(0.5) : m, e -= large;
  const V<T> s = (m - T(1)) / (m + T(1)), q = s * s;
  V<T> y = fill(T(1) / (2 * R::log_terms + 1));
  for (int i = R::log_terms - 1; i >= 0; --i) y = fma(y, q, fill(T(1) / (2 * i + 1)));
  return fma(__builtin_convertvector(e, V<T>), fill(T(0.69314718055994530942)), (s + s) * y) + (x - x);
}

// Of numbers: what libm gives differs between its versions.
INLINE double hyperbolic_tangent(double x) {
  const double size = x < 0 ? -x : x, e = exponential<double>(fill(-2 * size))[0], y = (1 - e) / (1 + e);
  return x < 0 ? -y : y;
}

INLINE int least(int a, int b) { return a < b ? a : b; }
INLINE int most(int a, int b) { return a > b ? a : b; }
