/*
 * Stands in for the kernel that is jumped to: writes what it finds to the debug console, 8 bytes each, loads
 * its segments again from the table that was left for it, and ends the machine with the code 0x21.
 *
 * -DBITS=32 or 64.
 */
#if BITS == 64
#define A	%rax
#define B	%rbx
#define C	%rcx
#define D	%rdx
#define SI	%rsi
#define DI	%rdi
#define BP	%rbp
	.code64
#else
#define A	%eax
#define B	%ebx
#define C	%ecx
#define D	%edx
#define SI	%esi
#define DI	%edi
#define BP	%ebp
	.code32
#endif

	.section .text
	.globl next_kernel
next_kernel:
	mov	A, found
	mov	B, found + 8
	mov	C, found + 16
	mov	D, found + 24
	mov	SI, found + 32
	mov	DI, found + 40
	mov	BP, found + 48
	mov	%cs, found + 56
	mov	%ds, found + 64
	mov	%es, found + 72
	mov	%ss, found + 80
	mov	$stack_end, %esp
	pushf
	pop	A
	mov	A, found + 88
	mov	%cr0, A
	mov	A, found + 96
	mov	%cr4, A
	mov	A, found + 104
	mov	$0xc0000080, %ecx
	rdmsr
	mov	%eax, found + 112

	mov	$0x18, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	push	$0x10
#if BITS == 64
	mov	$reloaded, %eax
	push	%rax
	lretq
#else
	push	$reloaded
	lret
#endif
reloaded:
	cld
	mov	$found, %esi
	mov	$15 * 8, %ecx
	mov	$0xe9, %edx
	rep outsb
	mov	$0x10, %eax
	out	%eax, $0xf4
	hlt

	.section .data
	.balign	8
found:	.skip	15 * 8
	.skip	256
stack_end:

	.section .note.GNU-stack, "", @progbits
