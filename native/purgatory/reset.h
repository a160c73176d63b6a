#pragma once

/* Resets the machine; does not return. */
_Noreturn void reset_machine(void);
