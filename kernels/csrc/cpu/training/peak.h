// What the processor's multiply-adds attain in registers: what the step's speed is measured against.

// float32 multiply-accumulates of one thread in `rounds` rounds; the number returned keeps them from being left out.
// Ten chains, each a variable of its own: fewer wait for each other, and an array would go through memory.
static float multiply_adds(int64_t rounds) {
  const V<float> x = fill(0.999f), y = fill(1e-3f);
  V<float> a = x, b = y, c = x, d = y, e = x, f = y, g = x, h = y, i = x, j = y;
  for (int64_t round = 0; round < rounds; ++round) {
    a = fma(a, x, y), b = fma(b, x, y), c = fma(c, x, y), d = fma(d, x, y), e = fma(e, x, y);
    f = fma(f, x, y), g = fma(g, x, y), h = fma(h, x, y), i = fma(i, x, y), j = fma(j, x, y);
  }
  return (((a + b) + (c + d)) + ((e + f) + (g + h)) + (i + j))[0];
}
