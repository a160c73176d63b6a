/** The kernel's macros whose sections the difference knows, each in the layout that its name tells. */
export const macros = String.raw`
#define noinline __attribute__((noinline))
#define noipa __attribute__((noinline))
#define __used __attribute__((used))
#define __init __attribute__((section(".init.text"), cold))
#define __section(name) __attribute__((section(name)))
#define unlikely(x) __builtin_expect(!!(x), 0)
#define __str(x) #x
#define str(x) __str(x)
typedef unsigned long ulong;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned char u8;
int printk(const char *format, ...);
void __warn_printk(const char *format, ...);
void __might_sleep(const char *file, int line);
void lockdep_rcu_suspicious(const char *file, int line, const char *text);
void use(void *);
int get(int);

/* include/asm-generic/bug.h and arch/x86/include/asm/bug.h: with file and line; without; since 6.19 with a format. */
#define WARN_FLAGS(flags) asm volatile("1: ud2\n .pushsection __bug_table, \"aw\"\n" \
	"2: .long 1b - 2b, %c0 - 2b\n .word %c1, %c2\n .org 2b + 12\n .popsection" \
	:: "i" (__FILE__), "i" (__LINE__), "i" (flags))
#define WARN_SHORT(flags) asm volatile("1: ud2\n .pushsection __bug_table, \"aw\"\n" \
	"2: .long 1b - .\n .word %c0\n .org 2b + 8\n .popsection" :: "i" (flags))
#define WARN_FORMAT(flags, format) asm volatile("1: ud2\n .pushsection __bug_table, \"aw\"\n" \
	"2: .long 1b - .\n .long %c3 - .\n .long %c0 - .\n .word %c1, %c2\n .org 2b + 16\n .popsection" \
	:: "i" (__FILE__), "i" (__LINE__), "i" (flags), "i" (format))
#define WARN_ON_ONCE(condition) do { \
	static u8 __section(".data.once") __already_done; \
	if (unlikely(condition) && !__already_done) { __already_done = 1; WARN_FLAGS(0x909); } } while (0)
#define might_sleep() __might_sleep(__FILE__, __LINE__)
#define ASSERT_RTNL() do { if (unlikely(get(7))) \
	__warn_printk("RTNL: assertion failed at %s (%d)\n", __FILE__, __LINE__); } while (0)

/* arch/x86/include/asm/jump_label.h: displacements since 4.20, before that three addresses. */
struct static_key { int enabled; ulong entries; };
#define JUMP_LABEL(name, entry) static inline __attribute__((always_inline)) int name(struct static_key *key) { \
	asm goto("1: jmp %l[yes]\n .pushsection __jump_table, \"aw\"\n .balign 8\n " entry "\n .popsection" \
		:: "i" (key), "i" (2) :: yes); return 0; yes: return 1; }
JUMP_LABEL(static_branch, ".long 1b - ., %l[yes] - .\n .quad %c0 + %c1 - .")
JUMP_LABEL(static_branch_absolute, ".quad 1b, %l[yes], %c0")

/* arch/x86/include/asm/asm.h: insn and fixup; since 4.6 a handler; since 5.17 a type. */
#define EXTABLE_2 " .pushsection __ex_table, \"a\"\n .balign 4\n .long 1b - .\n .long 3b - .\n .popsection\n"
#define EXTABLE_HANDLER(name) " .pushsection __ex_table, \"a\"\n .balign 4\n .long 1b - .\n .long 3b - .\n" \
	" .long " #name " - .\n .popsection\n"
#define EXTABLE_TYPE(type) " .pushsection __ex_table, \"a\"\n .balign 4\n .long 1b - .\n .long 2b - .\n" \
	" .long " #type "\n .popsection\n"
#define LOAD_WITH_FIXUP(to, from, error, value, table) asm volatile("1: movq %2, %1\n2:\n" \
	" .pushsection .fixup, \"ax\"\n3: movq $" #value ", %0\n jmp 2b\n .popsection\n" table \
	: "+r" (error), "=r" (to) : "m" (*(ulong *)(from)))
#define LOAD_WITH_TYPE(to, from, type) asm volatile("1: movq %1, %0\n2:\n" EXTABLE_TYPE(type) \
	: "=r" (to) : "m" (*(ulong *)(from)))

/* arch/x86/include/asm/alternative.h: 12 bytes in 4.0, 13 with padlen since 4.1, 14 with flags since 6.3. */
#define ALTERNATIVE(old, new, fields) asm volatile("661: " old "\n662:\n" \
	".pushsection .altinstructions, \"a\"\n .long 661b - .\n .long 663f - .\n " fields "\n .popsection\n" \
	".pushsection .altinstr_replacement, \"ax\"\n663: " new "\n664:\n.popsection")
#define ALT_12(feature) ".word " #feature "\n .byte 662b-661b\n .byte 664f-663f"
#define ALT_13(feature) ALT_12(feature) "\n .byte 0"
#define ALT_14(feature) ".4byte " #feature "\n .byte 662b-661b\n .byte 664f-663f"
/* static_cpu_has() of 4.x and 5.x. */
static inline __attribute__((always_inline)) int static_cpu_has(u8 *byte)
{
	asm goto("1: jmp 6f\n2:\n .pushsection .altinstructions, \"a\"\n .long 1b - ., 4f - .\n .word 117\n"
		 " .byte 2b-1b, 5f-4f, 0\n .popsection\n .pushsection .altinstr_replacement, \"ax\"\n4: jmp %l[no]\n5:\n"
		 " .popsection\n .pushsection .altinstructions, \"a\"\n .long 1b - .\n .long 0\n .word 9\n"
		 " .byte 2b-1b, 0, 0\n .popsection\n .pushsection .altinstr_aux, \"ax\"\n6: testb $4, %c0\n jnz %l[yes]\n jmp %l[no]\n .popsection"
		 :: "i" (byte) :: yes, no);
yes:
	return 1;
no:
	return 0;
}
#define LOCK(text) asm volatile(".pushsection .smp_locks, \"a\"\n .balign 4\n .long 671f - .\n .popsection\n671: lock; " text)
/* arch/x86/include/asm/paravirt_types.h: the last entry is not padded. */
#define PARAVIRT(name, type, clobbers) asm volatile("771: call *" #name "\n772:\n .pushsection .parainstructions, \"a\"\n" \
	" .balign 8\n .quad 771b\n .byte " #type "\n .byte 772b-771b\n .short " #clobbers "\n .popsection")
/* CONFIG_REFCOUNT_FULL's fast variant of 4.14 to 4.20. */
#define REFCOUNT_INC(counter) asm volatile("incl %0\n js 111f\n .pushsection .text..refcount\n" \
	"111: lea %0, %%rcx\n112: ud2\n .popsection\n113:\n .pushsection __ex_table, \"a\"\n .balign 4\n" \
	" .long 112b - .\n .long 113b - .\n .long ex_handler_refcount - .\n .popsection" : "+m" (counter) :: "rcx", "cc")
/* Entries that objtool makes of calls, returns and branches. */
#define SITE(section) "1: .pushsection " section ", \"a\"\n .long 1b - .\n .popsection\n"
#define STATIC_CALL(name) asm volatile("1: call __SCT__" #name "\n .pushsection .static_call_sites, \"aw\"\n" \
	" .long 1b - .\n .long __SCK__" #name " - .\n .popsection" ::: "memory")

/* include/linux/printk.h, include/linux/dynamic_debug.h. */
struct pi_entry { const char *format, *function, *file; u32 line; };
#define PRINTK_INDEX(text) do { static const struct pi_entry _entry = { text, __func__, __FILE__, __LINE__ }; \
	static const struct pi_entry *_entry_ptr __used __section(".printk_index") = &_entry; printk(text); } while (0)
struct _ddebug { const char *function, *format; u32 line : 18, flags : 8; };
void __dynamic_pr_debug(struct _ddebug *descriptor, const char *format, ...);
#define pr_debug_in(table, text) do { static struct _ddebug descriptor __used __section(table) \
	__attribute__((aligned(8))) = { __func__, text, __LINE__ }; \
	if (unlikely(descriptor.flags)) __dynamic_pr_debug(&descriptor, text); } while (0)
struct lock_class_key { char dummy; };
void __mutex_init(void *lock, const char *name, struct lock_class_key *key);
#define mutex_init(lock) do { static struct lock_class_key __key; __mutex_init(lock, #lock, &__key); } while (0)
struct tracepoint { const char *name; struct static_key key; void *funcs; };
#define DEFINE_TRACE(name) static const char __tpstrtab_##name[] __section("__tracepoints_strings") = #name; \
	struct tracepoint __tracepoint_##name __section("__tracepoints") __used = { __tpstrtab_##name }; \
	asm(".pushsection __tracepoints_ptrs, \"a\"\n .balign 4\n .long __tracepoint_" #name " - .\n .popsection")
#define SYSCALL_BODY(name) long __x64_sys_##name(long *regs)
`;
