// System calls: getppid by the instruction, and writes to /dev/null.
#include "bench.h"
#include <fcntl.h>
#include <sys/syscall.h>
EXPECT(0xc9b8e8b1ebd6b380)
static int null;
static void prepare(void)
{
    null = open("/dev/null", O_WRONLY);
    if (null < 0)
        fail("/dev/null");
}

static uint64_t work(void)
{
    long first = syscall(SYS_getppid), written = 0;
    for (int i = 0; i < 20000; i++)
        if (syscall(SYS_getppid) != first)
            fail("getppid");
    for (int i = 0; i < 5000; i++)
        written += write(null, "x", 1);
    return mix(1, (uint64_t)written);
}
#include "main.inc"
