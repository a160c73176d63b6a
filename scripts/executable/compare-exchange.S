/*
 * bool __atomic_compare_exchange(size_t size, void *object, void *expected,
 *                                void *desired, int success, int failure)
 *
 * The one function that Node takes from libatomic, for the single executable: a minimal Debian has no
 * libatomic.so.1. Always sequentially consistent, and atomic at any alignment, as lock cmpxchg is.
 *
 * rdi size, rsi object, rdx expected, rcx desired; al result.
 * On failure the object's value is stored to *expected.
 *
 * Sizes other than those of one register stop the program: Node's callers, all in V8, pass 8.
 */
	.text
	.globl compare_exchange
	.type compare_exchange, @function
compare_exchange:
	cmp	$8, %rdi
	jne	4f
	mov	(%rdx), %rax
	mov	(%rcx), %rcx
	lock cmpxchg %rcx, (%rsi)
	je	9f
	mov	%rax, (%rdx)
	xor	%eax, %eax
	ret
4:	cmp	$4, %rdi
	jne	2f
	mov	(%rdx), %eax
	mov	(%rcx), %ecx
	lock cmpxchg %ecx, (%rsi)
	je	9f
	mov	%eax, (%rdx)
	xor	%eax, %eax
	ret
2:	cmp	$2, %rdi
	jne	1f
	mov	(%rdx), %ax
	mov	(%rcx), %cx
	lock cmpxchg %cx, (%rsi)
	je	9f
	mov	%ax, (%rdx)
	xor	%eax, %eax
	ret
1:	cmp	$1, %rdi
	jne	0f
	mov	(%rdx), %al
	mov	(%rcx), %cl
	lock cmpxchg %cl, (%rsi)
	je	9f
	mov	%al, (%rdx)
	xor	%eax, %eax
	ret
9:	mov	$1, %eax
	ret
0:	ud2
	.size compare_exchange, . - compare_exchange
	.section .note.GNU-stack, "", @progbits
