/* The beginning of a small kernel that says how it was entered: see kernel.c.
   VERSION: of Multiboot. FLAT: no ELF file, its header tells the addresses. RELOCATABLE: may lie anywhere. */

#define PAGE_ALIGN 1
#define WANT_MEMORY 2
#define ADDRESSES 0x10000

        .section .header, "a"
#if VERSION == 1
# ifdef FLAT
#  define FLAGS (PAGE_ALIGN | WANT_MEMORY | ADDRESSES)
# else
#  define FLAGS (PAGE_ALIGN | WANT_MEMORY)
# endif
        .balign 4
header:
        .long 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)
        .long header, load_start, load_end, bss_end, start
#else
        .balign 8
header:
        .long 0xe85250d6, 0, header_end - header, -(0xe85250d6 + (header_end - header))
        /* It must be told: command line, modules, memory. */
        .word 1, 0
        .long 20, 1, 3, 6
        .long 0
        .word 6, 0
        .long 8
        /* What a boot loader may leave aside. */
        .word 5, 1
        .long 20, 1024, 768, 32
        .long 0
# ifdef RELOCATABLE
        .word 10, 0
        .long 24, 0x1400000, 0x7fffffff, 0x200000, 1
# endif
        .word 0, 0
        .long 8
header_end:
#endif

        .section .text.start, "ax"
        .code32
        .globl start
start:
        cli
        /* Nothing is known of ESP: what is kept stays in registers until there is a stack. */
        movl    %eax, %esi
        movl    %ebx, %edi
        movl    %ebx, %ebp
        /* Where am I? A few bytes that the information does not need: the first of it is kept in EDX. */
        leal    4(%ebx), %esp
        movl    (%ebx), %edx
        call    1f
1:      popl    %ecx
        movl    %edx, (%ebx)
        leal    stack_end - 1b(%ecx), %esp
        pushfl
        popl    %edx
        movl    %cr4, %eax
        pushl   %eax
        movl    %cr0, %eax
        pushl   %eax
        xorl    %eax, %eax
        movw    %ss, %ax
        shll    $16, %eax
        movw    %cs, %ax
        pushl   %eax
        pushl   %edx
        leal    start - 1b(%ecx), %eax
        pushl   %eax
        pushl   %edi
        pushl   %esi
        call    kernel_main
        hlt

        .bss
        .balign 16
        .skip 16384
stack_end:
