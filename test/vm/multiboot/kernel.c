// A small kernel that says on the serial line how it was entered and what it was told, then ends.
// Compiled for the tests of Multiboot, with VERSION 1 or 2.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

static void out8(u16 port, u8 value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static void out16(u16 port, u16 value) { asm volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static u8 in8(u16 port) {
	u8 value;
	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void put(char c) {
	while (!(in8(0x3f8 + 5) & 0x20))
		;
	out8(0x3f8, c);
}
static void text(const char *s) {
	while (*s)
		put(*s++);
}
static void hex(u64 value) {
	for (int shift = 60; shift >= 0; shift -= 4) {
		u8 digit = value >> shift & 15;
		if (value >> shift || shift == 0)
			put(digit < 10 ? '0' + digit : 'a' + digit - 10);
	}
}
static void field(const char *name, u64 value) {
	text(name);
	put('=');
	hex(value);
	put(' ');
}
static void end_line(void) { text("\r\n"); }
static void begin(const char *what) {
	text("mb: ");
	text(what);
	put(' ');
}
static void line(const char *what, const char *value) {
	begin(what);
	text(value);
	end_line();
}
static void memory(u64 base, u64 length, u32 type) {
	begin("memory");
	field("base", base);
	field("length", length);
	field("type", type);
	end_line();
}
// FNV-1a over all of it, so that a byte that got lost on the way is seen.
static void module(u32 start, u32 end, const char *words) {
	u32 hash = 0x811c9dc5;
	for (u32 at = start; at < end; at++)
		hash = (hash ^ *(volatile u8 *)at) * 0x01000193;
	begin("module");
	field("start", start);
	field("bytes", end - start);
	field("hash", hash);
	text(words);
	end_line();
}

static u32 word(u32 address) { return *(volatile u32 *)address; }
static u64 wide(u32 address) { return word(address) | (u64)word(address + 4) << 32; }

#if VERSION == 1
static void tell(u32 info) {
	u32 flags = word(info);
	begin("information");
	field("flags", flags);
	field("lower", word(info + 4));
	field("upper", word(info + 8));
	end_line();
	line("command-line", (char *)word(info + 16));
	line("loader", (char *)word(info + 64));
	for (u32 at = word(info + 48), end = at + word(info + 44); at < end; at += word(at) + 4)
		memory(wide(at + 4), wide(at + 12), word(at + 20));
	for (u32 i = 0, at = word(info + 24); i < word(info + 20); i++, at += 16)
		module(word(at), word(at + 4), (char *)word(at + 8));
	if (flags & 0x20) {
		begin("sections");
		field("count", word(info + 28));
		end_line();
	}
}
#else
static void tell(u32 info) {
	for (u32 at = info + 8; word(at) != 0; at += (word(at + 4) + 7) & ~7u) {
		u32 end = at + word(at + 4);
		switch (word(at)) {
		case 1:
			line("command-line", (char *)(at + 8));
			break;
		case 2:
			line("loader", (char *)(at + 8));
			break;
		case 3:
			module(word(at + 8), word(at + 12), (char *)(at + 16));
			break;
		case 4:
			begin("information");
			field("lower", word(at + 8));
			field("upper", word(at + 12));
			end_line();
			break;
		case 6:
			for (u32 entry = at + 16; entry < end; entry += word(at + 8))
				memory(wide(entry), wide(entry + 8), word(entry + 16));
			break;
		case 9:
			begin("sections");
			field("count", word(at + 8));
			end_line();
			break;
		case 14:
		case 15: {
			u32 sum = 0;
			for (u32 byte = at + 8; byte < end; byte++)
				sum += *(volatile u8 *)byte;
			begin("rsdp");
			field("tag", word(at));
			field("bytes", end - at - 8);
			field("signature", wide(at + 8));
			field("sum", sum & 0xff);
			end_line();
			break;
		}
		case 21:
			begin("load-base");
			field("address", word(at + 8));
			end_line();
			break;
		}
	}
}
#endif

// In .bss: whoever loads the kernel has to make it zero.
static volatile u32 zeroed[1024];

void kernel_main(u32 magic, u32 info, u32 start, u32 eflags, u32 selectors, u32 cr0, u32 cr4) {
	u32 dirt = 0;
	for (u32 i = 0; i < 1024; i++)
		dirt |= zeroed[i];
	text("\r\n");
	begin("entered");
	field("magic", magic);
	field("information", info);
	field("start", start);
	field("eflags", eflags);
	field("cs", selectors & 0xffff);
	field("ss", selectors >> 16);
	field("cr0", cr0);
	field("cr4", cr4);
	field("dirt", dirt);
	end_line();
	tell(info);
	line("end", "");
#ifdef POWER_OFF
	// The emulator's ACPI power management, where its firmware puts it.
	out16(0x604, 0x2000);
#endif
	// The keyboard controller's reset line.
	for (;;)
		out8(0x64, 0xfe);
}
