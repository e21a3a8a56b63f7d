// n-body in SSE2 doubles: five bodies, symplectic steps; energy must stay, and bits must match.
#include "bench.h"
#include <math.h>
EXPECT(0xbf7a8df3cd3921ce)
enum { BODIES = 5, STEPS = 5000 };
struct body { double x, y, z, vx, vy, vz, mass; };
static struct body b[BODIES];

static void prepare(void) { }

static double energy(void)
{
    double e = 0;
    for (int i = 0; i < BODIES; i++) {
        e += 0.5 * b[i].mass * (b[i].vx * b[i].vx + b[i].vy * b[i].vy + b[i].vz * b[i].vz);
        for (int j = i + 1; j < BODIES; j++) {
            double x = b[i].x - b[j].x, y = b[i].y - b[j].y, z = b[i].z - b[j].z;
            e -= b[i].mass * b[j].mass / __builtin_sqrt(x * x + y * y + z * z);
        }
    }
    return e;
}

static uint64_t work(void)
{
    for (int i = 0; i < BODIES; i++)
        b[i] = (struct body){ i * 3.0, (i & 1) * 2.0 - 1, i * 0.25, 0.01 * i, i ? 1.7 / (i + 1) : -0.003, 0.002 * i, i ? 0.002 / i : 9.0 };
    double before = energy();
    for (int s = 0; s < STEPS; s++) {
        const double dt = 0.001;
        for (int i = 0; i < BODIES; i++)
            for (int j = i + 1; j < BODIES; j++) {
                double x = b[i].x - b[j].x, y = b[i].y - b[j].y, z = b[i].z - b[j].z;
                double d = x * x + y * y + z * z, m = dt / (d * __builtin_sqrt(d));
                b[i].vx -= x * b[j].mass * m, b[i].vy -= y * b[j].mass * m, b[i].vz -= z * b[j].mass * m;
                b[j].vx += x * b[i].mass * m, b[j].vy += y * b[i].mass * m, b[j].vz += z * b[i].mass * m;
            }
        for (int i = 0; i < BODIES; i++)
            b[i].x += dt * b[i].vx, b[i].y += dt * b[i].vy, b[i].z += dt * b[i].vz;
    }
    double after = energy(), change = (after - before) / before;
    if (!(change < 0.01 && change > -0.01))
        fail("energy");
    uint64_t bits;
    memcpy(&bits, &after, 8);
    return bits;
}
#include "main.inc"
