// Pipe ping-pong: two processes, one byte there and one back, 2 000 times.
#include "bench.h"
EXPECT(0x174ac05a4fc88287)
enum { TRIPS = 2000 };
static void prepare(void) { }

static uint64_t work(void)
{
    int there[2], back[2], status;
    uint64_t sum = 0;
    if (pipe(there) || pipe(back))
        fail("pipe");
    pid_t child = fork();
    if (child == 0) {
        uint8_t byte;
        for (int i = 0; i < TRIPS; i++) {
            if (read(there[0], &byte, 1) != 1)
                _exit(1);
            byte = (uint8_t)(byte * 3 + 1);
            if (write(back[1], &byte, 1) != 1)
                _exit(2);
        }
        _exit(0);
    }
    for (int i = 0; i < TRIPS; i++) {
        uint8_t byte = (uint8_t)i;
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            fail("trip");
        sum = mix(sum, byte);
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("child");
    close(there[0]), close(there[1]), close(back[0]), close(back[1]);
    return sum;
}
#include "main.inc"
