// 数学函数和随机数。标量的都用 double 的泰勒级数：短，舍入到 float 之后几乎总是最近的那个数。

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
  for (int k = 13; k >= 1; k--) sum = 1 + r / k * sum;
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
  for (int k = 19; k >= 1; k -= 2) sum = 1.0 / k + s * s * sum;
  return n * LN2 + 2 * s * sum;
}

// sin x = (-1)ⁿ·sin(x - nπ)，|x - nπ| ≤ π/2
double sin64(double x) {
  double n = __builtin_rint(x / PI), r = x - n * PI, sum = 1;
  for (int k = 20; k >= 2; k -= 2) sum = 1 - r * r / (k * (k + 1)) * sum;
  return ((long long)n & 1 ? -r : r) * sum;
}

double cos64(double x) { return sin64(x + PI / 2); }

double power(double base, int n) {
  double result = 1;
  for (; n > 0; n >>= 1, base *= base)
    if (n & 1) result *= base;
  return result;
}

// 四个数的双曲正切。|x| 小时用级数（系数由最小化相对误差得到），大时用 1 - 2 / (e²ˣ + 1)。
typedef int i4 __attribute__((vector_size(16)));

static v4 choose(i4 mask, v4 yes, v4 no) { return (v4)((mask & (i4)yes) | (~mask & (i4)no)); }

static v4 splat(float x) { return (v4){x, x, x, x}; }

// eˣ，0 ≤ x ≤ 20
static v4 exp4(v4 x) {
  v4 shifted = x * splat(1.44269504f) + splat(12582912.0f); // 加 1.5·2²³，低位就是最近的整数
  v4 n = shifted - splat(12582912.0f);
  v4 r = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f); // ln2 分成两段
  v4 sum = splat(1.0f / 5040);
  const float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
#pragma unroll
  for (int k = 0; k < 7; k++) sum = splat(terms[k]) + r * sum;
  return (v4)((i4)sum + ((i4)shifted << 23));
}

v4 tanh4(v4 x) {
  i4 sign = (i4)x & (i4)splat(-0.0f);
  v4 size = (v4)((i4)x ^ sign);
  v4 square = x * x;
  v4 sum = splat(-5.7049886e-3f);
  sum = sum * square + splat(2.06390885e-2f);
  sum = sum * square + splat(-5.37397153e-2f);
  sum = sum * square + splat(1.33314422e-1f);
  sum = sum * square + splat(-3.33332819e-1f);
  v4 small = size + size * square * sum;
  v4 capped = choose(size > splat(10.0f), splat(10.0f), size);
  v4 large = splat(1.0f) - splat(2.0f) / (exp4(capped + capped) + splat(1.0f));
  v4 result = choose(size < splat(0.625f), small, large);
  return choose(x != x, x, (v4)((i4)result | sign)); // NaN 照传
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
