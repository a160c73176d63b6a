#include "speak.h"

#include "machine.h"

/* Line status register of a 16550. */
#define LINE_STATUS 5
#define HOLDING_REGISTER_EMPTY 0x20
#define TRANSMITTER_EMPTY 0x40

#define SCREEN 0xb8000
#define COLUMNS 80
/* Of the screen, from its top. */
#define LINES 6
#define WHITE_ON_RED 0x4f00
/* In microseconds. */
#define READING_TIME 2000000

static uint16_t serial_port;
static char said[LINES * COLUMNS];
static unsigned said_count;

void speak_on(uint16_t port)
{
	serial_port = port;
}

/* Bounded: a port without a device must not stop the machine. */
static void wait_for(uint8_t status)
{
	for (unsigned tries = 0; tries < 100000; tries++)
		if ((inb(serial_port + LINE_STATUS) & status) == status)
			return;
}

static void say_character(char character)
{
	if (character == '\n')
		said_count += COLUMNS - said_count % COLUMNS;
	else if (said_count < sizeof(said) && character >= ' ')
		said[said_count++] = character;
	if (serial_port == 0)
		return;
	wait_for(HOLDING_REGISTER_EMPTY);
	outb(character, serial_port);
}

void say(const char *text)
{
	for (; *text != 0; text++)
		say_character(*text);
}

static void say_in_base(uint64_t value, unsigned base)
{
	char digits[20];
	unsigned count = 0;

	do
		digits[count++] = "0123456789abcdef"[value % base];
	while ((value /= base) != 0);
	while (count > 0)
		say_character(digits[--count]);
}

void say_hex(uint64_t value)
{
	say("0x");
	say_in_base(value, 16);
}

void say_number(uint64_t value)
{
	say_in_base(value, 10);
}

void finish_speaking(void)
{
	if (serial_port != 0)
		wait_for(TRANSMITTER_EMPTY);
}

void show_on_screen(void)
{
	volatile uint16_t *cell = (volatile uint16_t *)SCREEN;

	for (unsigned i = 0; i < sizeof(said); i++)
		cell[i] = WHITE_ON_RED | (said[i] == 0 ? ' ' : said[i]);
	wait_microseconds(READING_TIME);
}
