// fork, exec of this program, exit, wait: 20 times.
#include "bench.h"
EXPECT(0x2b10ec429c17a7a0)
static void prepare(void)
{
    if (arguments[1] && !strcmp(arguments[1], "child"))
        _exit(42);
}

static uint64_t work(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < 20; i++) {
        int status;
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            execl("/proc/self/exe", arguments[0], "child", (char *)0);
            _exit(1);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
            fail("wait");
        sum = mix(sum, (uint64_t)WEXITSTATUS(status));
    }
    return sum;
}
#include "main.inc"
