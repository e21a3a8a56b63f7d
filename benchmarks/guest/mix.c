// A CoreMark-like mix: a linked list that is searched and reversed, a small matrix product, a state machine over text, a CRC.
#include "bench.h"
EXPECT(0x3e62)
enum { NODES = 200, SIDE = 24, TEXT = 1000 };
struct node { struct node *next; int16_t key, value; };
static struct node nodes[NODES];
static int16_t a[SIDE][SIDE], b[SIDE][SIDE];
static int32_t c[SIDE][SIDE];
static char text[TEXT];

static void prepare(void)
{
    uint32_t seed = 7;
    static const char alphabet[] = "0123456789+-.eE,xq ";
    for (int i = 0; i < TEXT; i++)
        text[i] = alphabet[next_random(&seed) % (sizeof alphabet - 1)];
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            a[i][j] = (int16_t)next_random(&seed);
            b[i][j] = (int16_t)next_random(&seed);
        }
}

static uint16_t crc16(uint16_t crc, uint32_t value)
{
    for (int i = 0; i < 32; i++, value >>= 1)
        crc = (crc ^ value) & 1 ? (crc >> 1) ^ 0xA001 : crc >> 1;
    return crc;
}

static uint16_t lists(uint16_t crc)
{
    struct node *head = 0;
    for (int i = 0; i < NODES; i++) {
        nodes[i] = (struct node){ head, (int16_t)(i * 37 % NODES), (int16_t)(i ^ crc) };
        head = &nodes[i];
    }
    for (int key = 0; key < NODES; key += 3) {
        struct node *at = head;
        while (at && at->key != key)
            at = at->next;
        if (!at)
            fail("list");
        crc ^= (uint16_t)at->value;
    }
    struct node *reversed = 0;
    while (head) {
        struct node *next = head->next;
        head->next = reversed;
        reversed = head;
        head = next;
    }
    if (reversed != &nodes[0])
        fail("reversal");
    return crc16(crc, (uint32_t)reversed->next->key);
}

static uint16_t matrices(uint16_t crc)
{
    int32_t sum = 0;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int32_t s = 0;
            for (int k = 0; k < SIDE; k++)
                s += (int32_t)a[i][k] * b[k][j];
            c[i][j] = s;
            sum += s >> 7;
        }
    return crc16(crc, (uint32_t)sum);
}

static uint16_t states(uint16_t crc)
{
    enum { START, INTEGER, FRACTION, EXPONENT, INVALID } state = START;
    uint32_t counts[5] = { 0 };
    for (int i = 0; i < TEXT; i++) {
        char ch = text[i];
        switch (state) {
        case START: state = ch >= '0' && ch <= '9' ? INTEGER : ch == '.' ? FRACTION : ch == '+' || ch == '-' ? START : INVALID; break;
        case INTEGER: state = ch == '.' ? FRACTION : ch == 'e' || ch == 'E' ? EXPONENT : ch >= '0' && ch <= '9' ? INTEGER : ch == ',' ? START : INVALID; break;
        case FRACTION: state = ch == 'e' || ch == 'E' ? EXPONENT : ch >= '0' && ch <= '9' ? FRACTION : ch == ',' ? START : INVALID; break;
        case EXPONENT: state = ch >= '0' && ch <= '9' ? EXPONENT : ch == ',' ? START : INVALID; break;
        case INVALID: state = ch == ',' ? START : INVALID; break;
        }
        counts[state]++;
    }
    for (int i = 0; i < 5; i++)
        crc = crc16(crc, counts[i]);
    return crc;
}

static uint64_t work(void)
{
    uint16_t crc = 0xFFFF;
    for (int i = 0; i < 10; i++)
        crc = states(matrices(lists(crc)));
    return crc;
}
#include "main.inc"
