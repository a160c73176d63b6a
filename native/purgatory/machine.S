/*
 * Into the purgatory and out of it: what C cannot say.
 *
 * The kernel jumps to the first byte in long mode, with an identity mapping of the memory and of the segments,
 * interrupts off, a stack that is none of ours and descriptor tables that no longer exist
 * (arch/x86/kernel/relocate_kernel_64.S, machine_kexec_64.c).
 *
 * Nothing here may hold an address that the linker knows: the image runs wherever it lies.
 */

#define CODE_SELECTOR	0x10
#define DATA_SELECTOR	0x18

#define CR0_WP		(1 << 16)
#define CR0_AM		(1 << 18)
#define CR0_TS		(1 << 3)
#define CR0_EM		(1 << 2)
#define CR0_PG		(1 << 31)

#define CR4_PAE		(1 << 5)
#define CR4_MCE		(1 << 6)
#define CR4_LA57	(1 << 12)

#define MSR_EFER	0xc0000080
#define EFER_SCE	(1 << 0)
#define EFER_LME	(1 << 8)
#define EFER_NX		(1 << 11)

	.code64
	.section .entry, "ax"
	.globl purgatory_entry
purgatory_entry:
	jmp	start

	.text
start:
	cli
	cld
	leaq	stack_end(%rip), %rsp
	/* No handlers: whatever goes wrong from here on is a triple fault, which resets the machine. */
	lidt	no_table(%rip)
	leaq	long_table(%rip), %rdi
	call	load_segments
	call	purgatory
	ud2

/* rdi: a table whose entries 0x10 and 0x18 are flat code for long mode, and flat data. */
load_segments:
	leaq	table(%rip), %rax
	movq	%rdi, 2(%rax)
	lgdt	(%rax)
	movl	$DATA_SELECTOR, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%eax, %ss
	popq	%rdx
	pushq	$CODE_SELECTOR
	pushq	%rdx
	lretq

/*
 * void enter_64(uint64_t entry, uint64_t boot_params)
 * Documentation/arch/x86/boot.rst, 64-bit boot protocol.
 */
	.globl enter_64
enter_64:
	pushq	%rdi
	xorl	%eax, %eax
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%edi, %edi
	xorl	%ebp, %ebp
	xorl	%r8d, %r8d
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	xorl	%r11d, %r11d
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	ret

/*
 * void enter_32(uint32_t entry, uint32_t eax, uint32_t ebx, uint32_t esi)
 * Protected mode without paging, flat segments. Everything here must lie below 4 GiB.
 */
	.globl enter_32
enter_32:
	leaq	stack_end(%rip), %rsp
	pushq	%rdi
	movl	%esi, %edi
	movl	%edx, %ebx
	movl	%ecx, %esi

	/*
	 * Off now, because CR0 cannot change below them: PCIDE keeps paging on, CET keeps WP on. LA57 has to
	 * stay as it is for as long as long mode is active; without MCE a TDX guest must not be.
	 */
	movq	%cr4, %rax
	andl	$(CR4_PAE | CR4_MCE | CR4_LA57), %eax
	movq	%rax, %cr4

	leaq	table(%rip), %rax
	leaq	protected_table(%rip), %rdx
	movq	%rdx, 2(%rax)
	lgdt	(%rax)
	leaq	compatibility(%rip), %rax
	pushq	$CODE_SELECTOR
	pushq	%rax
	lretq

	.code32
compatibility:
	movl	$DATA_SELECTOR, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%eax, %ss
	/* This ends long mode: the processor clears EFER.LMA. */
	movl	%cr0, %eax
	andl	$~(CR0_PG | CR0_WP | CR0_AM | CR0_TS | CR0_EM), %eax
	movl	%eax, %cr0
	/* Else it would begin again, to the next kernel's surprise, when that one turns on PAE and paging. */
	movl	$MSR_EFER, %ecx
	rdmsr
	andl	$~(EFER_SCE | EFER_LME | EFER_NX), %eax
	wrmsr
	movl	%cr4, %eax
	andl	$CR4_MCE, %eax
	movl	%eax, %cr4
	movl	%edi, %eax
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%edi, %edi
	xorl	%ebp, %ebp
	/* The upper half of what was pushed stays behind. */
	ret
	.code64

	.section .rodata
	.balign 8
/* Accessed bits are set: nothing writes into these. */
long_table:
	.quad	0, 0
	.quad	0x00af9b000000ffff
	.quad	0x00cf93000000ffff
protected_table:
	.quad	0, 0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
no_table:
	.word	0
	.quad	0

	.data
	.balign 8
	.skip	6
table:
	.word	4 * 8 - 1
	.quad	0

	.section .note.GNU-stack, "", @progbits
