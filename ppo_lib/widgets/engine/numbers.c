// 数学函数和随机数。都用 double 的泰勒级数：短，舍入到 float 之后几乎总是最近的那个数。循环展开以后，1 / k 是常数。

#include "ppo.h"

#define NAN_ __builtin_nan("")
#define INFINITY_ __builtin_inf()

static const double LN2 = 0.693147180559945309, PI = 3.14159265358979324;

// 2ⁿ，-1022 ≤ n ≤ 1023：直接写出指数的那几位
static double power_of_two(int n) {
  union { unsigned long long bits; double x; } u = {(unsigned long long)(n + 1023) << 52};
  return u.x;
}

// eˣ = 2ⁿ·eʳ，|r| ≤ ln2 / 2
double exp64(double x) {
  if (x != x) return x;
  if (x > 709) return INFINITY_;
  if (x < -708) return 0;
  double n = __builtin_rint(x / LN2), r = x - n * LN2, sum = 1;
#pragma unroll
  for (int k = 13; k >= 1; k--) sum = 1 + r * (1.0 / k) * sum;
  return power_of_two((int)n) * sum;
}

// ln(m·2ⁿ) = n·ln2 + 2·(s + s³/3 + s⁵/5 + …)，s = (m - 1) / (m + 1)，m 在 √½ 到 √2 之间
double log64(double x) {
  if (!(x > 0)) return x == 0 ? -INFINITY_ : NAN_;
  if (x == INFINITY_) return x;
  union { double x; unsigned long long bits; } u = {x};
  int n = (int)(u.bits >> 52) - 1023;
  u.bits = (u.bits & 0xfffffffffffffULL) | 1023ULL << 52;
  if (u.x > 1.41421356237309505) u.x /= 2, n++;
  double s = (u.x - 1) / (u.x + 1), sum = 0;
#pragma unroll
  for (int k = 19; k >= 1; k -= 2) sum = 1.0 / k + s * s * sum;
  return n * LN2 + 2 * s * sum;
}

// sin x = (-1)ⁿ·sin(x - nπ)，|x - nπ| ≤ π/2
double sin64(double x) {
  double n = __builtin_rint(x / PI), r = x - n * PI, sum = 1;
#pragma unroll
  for (int k = 20; k >= 2; k -= 2) sum = 1 - r * r * (1.0 / (k * (k + 1))) * sum;
  return ((long long)n & 1 ? -r : r) * sum;
}

double cos64(double x) { return sin64(x + PI / 2); }

double power(double base, int n) {
  double result = 1;
  for (; n > 0; n >>= 1, base *= base)
    if (n & 1) result *= base;
  return result;
}

// ---------------------------------------------------------------- 随机数

// PCG-XSH-RR，64 位状态，32 位输出。出处：O'Neill (2014), PCG: A Family of Simple Fast
// Space-Efficient Statistically Good Algorithms for Random Number Generation。
unsigned random_bits(Random *random) {
  unsigned long long old = random->state;
  random->state = old * 6364136223846793005ULL + 1442695040888963407ULL;
  unsigned mixed = (unsigned)((old >> 18 ^ old) >> 27), turn = (unsigned)(old >> 59);
  return mixed >> turn | mixed << (-turn & 31);
}

float uniform(Random *random) { return ((random_bits(random) >> 9) + 0.5f) * 0x1p-23f; }

float gumbel(Random *random) { return (float)-log64(-log64(uniform(random))); }

// Box–Muller
float normal(Random *random) {
  double radius = __builtin_sqrt(-2 * log64(uniform(random)));
  return (float)(radius * cos64(2 * PI * uniform(random)));
}

// 从后往前，每个位置与前面随机的一个交换（Fisher–Yates）
void random_order(Random *random, int *order, int n) {
  for (int i = 0; i < n; i++) order[i] = i;
  for (int i = n - 1; i > 0; i--) {
    int j = (int)((unsigned long long)random_bits(random) * (i + 1) >> 32);
    int kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
}
