/* To the serial line, and to the screen when it matters. */
#pragma once
#include <stdint.h>

/* I/O port of a 16550 that is set up already; 0 for none. */
void speak_on(uint16_t port);
void say(const char *text);
void say_hex(uint64_t value);
void say_number(uint64_t value);
/* Until the last character has left. */
void finish_speaking(void);
/* All that was said to the top of a screen in VGA text mode, for two seconds; elsewhere nobody sees it. */
void show_on_screen(void);
