/*
 * Stands in for the kernel that jumps: QEMU starts it by multiboot, it turns on long mode with an identity
 * mapping, copies a purgatory to its place and jumps there as relocate_kernel does: descriptor tables gone,
 * and with bits set in CR4 that the next kernel must not see.
 *
 * -DLA57=1 for five levels of page tables. -DTARGET, -DMEMORY_BYTES: where the purgatory goes, and its room.
 * purgatory.bin, next.bin, initrd.bin: what lies in memory.
 */
#define CR4_PAE		(1 << 5)
#define CR4_PGE		(1 << 7)
#define CR4_LA57	(1 << 12)
#define CR4_PCIDE	(1 << 17)

	.code32
	.section .text
	.long	0x1badb002, 0, -0x1badb002
	.globl _start
_start:
	cli
	movl	$stack_end, %esp
	/* 512 pages of 1 GiB */
	movl	$page_directory_pointers, %edi
	movl	$0x83, %eax
	xorl	%edx, %edx
1:	movl	%eax, (%edi)
	movl	%edx, 4(%edi)
	addl	$0x40000000, %eax
	adcl	$0, %edx
	addl	$8, %edi
	cmpl	$page_directory_pointers + 4096, %edi
	jb	1b
	movl	$page_directory_pointers + 3, level_4
	movl	$level_4 + 3, level_5
#if LA57
	movl	$level_5, %eax
	movl	%eax, %cr3
	movl	$(CR4_PAE | CR4_LA57), %eax
#else
	movl	$level_4, %eax
	movl	%eax, %cr3
	movl	$CR4_PAE, %eax
#endif
	movl	%eax, %cr4
	movl	$0xc0000080, %ecx
	rdmsr
	/* SCE, LME and NX, which Linux uses */
	orl	$0x901, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$0x80010001, %eax
	movl	%eax, %cr0
	lgdt	table
	ljmp	$0x08, $long_mode

	.code64
long_mode:
	movl	$1, %eax
	cpuid
	movq	%cr4, %rdx
	orq	$CR4_PGE, %rdx
	btl	$17, %ecx
	jnc	2f
	orq	$CR4_PCIDE, %rdx
2:	movq	%rdx, %cr4

	movabsq	$TARGET, %rdi
	movq	%rdi, %rbx
	leaq	MEMORY_BYTES(%rdi), %rdx
	movl	$staged, %esi
	movl	$staged_end - staged, %ecx
	cld
	rep movsb
	movq	%rdx, %rcx
	subq	%rdi, %rcx
	xorl	%eax, %eax
	rep stosb

	lgdt	nothing(%rip)
	lidt	nothing(%rip)
	movl	$0x55555555, %ecx
	movq	%rcx, %rbp
	movq	%rcx, %r15
	std
	pushq	%rbx
	ret

	.section .data
table:	.word	2 * 8 - 1
	.long	entries
nothing:
	.word	0
	.quad	0
	.balign	8
entries:
	.quad	0
	.quad	0x00af9b000000ffff
staged:
	.incbin	"purgatory.bin"
staged_end:

	.section .next_kernel, "aw"
	.incbin	"next.bin"
	.section .initrd, "aw"
	.incbin	"initrd.bin"

	.section .bss
	.balign	4096
level_5:
	.skip	4096
level_4:
	.skip	4096
page_directory_pointers:
	.skip	4096
	.skip	512
stack_end:

	.section .note.GNU-stack, "", @progbits
