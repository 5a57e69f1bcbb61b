/*
 * A firmware image that greets on the first serial port and serves a few
 * commands there.  README.md has the protocol and the memory map.
 *
 * It moves to 32-bit protected mode with paging at once and stays there:
 * `loop` must run so, and a single mode needs no way back and forth.
 *
 * Interrupts are on only around `hlt`, and their handler is empty: they do
 * nothing but wake the processor, and all the work is done by polling before
 * the next `hlt`.  Both COM1 (IRQ 4) and the timer (IRQ 0) are latched by the
 * interrupt controller, so one that comes between a check and the `hlt` ends
 * that `hlt` at once; and `sti` takes effect only after the next instruction.
 *
 * Nothing beyond a 486 is used: that is the default CPU of isapc (no time
 * stamp counter, no large pages).
 */

        .equ UART, 0x3f8
        .equ UART_IER, UART + 1
        .equ UART_FCR, UART + 2
        .equ UART_LCR, UART + 3
        .equ UART_MCR, UART + 4
        .equ UART_LSR, UART + 5
        .equ IER_RX, 0x01
        .equ IER_TX, 0x02
        .equ LSR_RX, 0x01
        .equ LSR_TX, 0x20
        .equ UART_FIFO, 16

        .equ PIC_COMMAND, 0x20
        .equ PIC_DATA, 0x21
        .equ PIC_VECTORS, 0x20

        .equ PIT_CHANNEL0, 0x40
        .equ PIT_MODE, 0x43
        .equ PIT_HZ, 1193182

        .equ KEYBOARD_COMMAND, 0x64
        .equ PVPANIC, 0x505
        .equ RESET_CONTROL, 0xcf9

        .equ PCI_ADDRESS, 0xcf8
        .equ PCI_DATA, 0xcfc
        .equ PCI_HOST_BRIDGE, 0x80000000
        .equ PIIX4_PM, 0x80000b00       /* device 1, function 3 */
        .equ ICH9_LPC, 0x8000f800       /* device 31, function 0 */
        .equ PM_BASE, 0x600             /* where `poweroff` puts the PM ports */

        /* Device pages, and where they are mapped: right after the first MiB. */
        .equ GED_PAGE, 0xfea00000
        .equ GED_SLEEP_CONTROL, 0x100000 + 0x200
        .equ APIC_PAGE, 0xfee00000
        .equ APIC_SPURIOUS, 0x101000 + 0xf0
        .equ APIC_LINT0, 0x101000 + 0x350

        /* Memory that `bench` works on and nothing else uses: 128 pages. */
        .equ BENCH_START, 0x10000
        .equ BENCH_WORDS, 0x80000 / 4

        .equ LINE_MAX, 4096
        .equ TICK_MAX, 1000000

        .equ CODE, 0x08
        .equ DATA, 0x10

/* Prints a literal; changes all of eax, ebx, ecx, edx and esi. */
        .macro print text
        .pushsection .rodata
text\@: .ascii "\text"
end\@:  .popsection
        mov     $text\@, %esi
        mov     $end\@ - text\@, %ecx
        call    write
        .endm

        .macro out8 value, port
        mov     $\value, %al
        .if     \port > 0xff
        mov     $\port, %edx
        out     %al, %dx
        .else
        out     %al, $\port
        .endif
        .endm

/* ------------------------------------------------------------ start */

        .section .reset, "ax"
        .code16
        ljmp    $0xf000, $start - image

        .text
        .globl  image
image:
start:
        cli
        cld
        lgdtl   %cs:gdt_pointer - image
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $CODE, $start32

        .code32
start32:
        mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $stack_top, %esp

        mov     $bss_start, %edi
        mov     $bss_words, %ecx
        xor     %eax, %eax
        rep stosl

        mov     $page_table, %edi
        mov     $256, %ecx
        mov     $3, %eax                /* present, writable */
1:      stosl
        add     $0x1000, %eax
        loop    1b
        movl    $GED_PAGE + 0x13, (%edi)        /* and uncached */
        movl    $APIC_PAGE + 0x13, 4(%edi)
        movl    $page_table + 3, page_directory
        mov     $page_directory, %eax
        mov     %eax, %cr3
        mov     $0x80000011, %eax       /* paging, caches on */
        mov     %eax, %cr0
        jmp     1f
1:
        lidt    idt_pointer

        out8    0x11, PIC_COMMAND
        out8    PIC_VECTORS, PIC_DATA
        out8    0x04, PIC_DATA          /* the second PIC, left masked, is on IR 2 */
        out8    0x03, PIC_DATA          /* 8086 mode, automatic end of interrupt */
        out8    0xee, PIC_DATA          /* IRQ 0 and IRQ 4 */

        /* Where the processor has an APIC, the PIC's interrupts come through that,
           which starts up with them masked.  isapc has none, and ignores this. */
        movl    $0x100 + PIC_VECTORS + 7, APIC_SPURIOUS         /* enabled */
        movl    $0x700, APIC_LINT0                              /* as the PIC says */

        /* QEMU's timer starts up as a running 18.2 Hz clock, which would wake
           every guest and its host thread for nothing. */
        out8    0x30, PIT_MODE

        out8    0x80, UART_LCR
        out8    0x01, UART              /* 115200 baud */
        out8    0x00, UART_IER
        out8    0x03, UART_LCR          /* 8N1 */
        out8    0x00, UART_IER
        /* FIFOs on and empty.  The receiver's threshold is the highest one (14),
           for QEMU hands over no more bytes at a time than that. */
        out8    0xc7, UART_FCR
        out8    0x0b, UART_MCR          /* OUT2 lets the interrupt through */

        call    detect
        print   "tiny guest ready\r\n"
        /* Fall through. */

/* ------------------------------------------------------------ command lines */

serve:
        print   "> "
        call    read_line
        cmp     $line, %ebp
        je      serve
        cmp     $line_end, %ebp
        je      too_long

        /* A space is put behind the line, so that there is one to be found. */
        movb    $' ', (%ebp)
        mov     $line, %edi
        mov     $LINE_MAX + 1, %ecx
        mov     $' ', %al
        repne scasb
        lea     -1(%edi), %edx
        sub     $line, %edx             /* length of the word */
        sub     %edi, %ebp              /* length of the argument, */
        jns     1f
        xor     %ebp, %ebp              /* which may not be there */
1:      mov     %edi, %eax

        mov     $commands, %ebx
2:      movzbl  (%ebx), %ecx
        jecxz   unknown
        lea     5(%ebx), %esi
        lea     5(%ebx, %ecx), %ebx
        cmp     %edx, %ecx
        jne     2b
        push    %esi
        mov     $line, %edi
        repe cmpsb
        pop     %edi
        jne     2b

        mov     -4(%edi), %edx
        mov     %eax, %esi
        mov     %ebp, %ecx
        call    *%edx
        jmp     serve

unknown:
        print   "error: unknown command\r\n"
        jmp     serve

too_long:
        print   "error: line too long\r\n"
        jmp     serve

/* Reads a line to `line`; its end goes to ebp, which is `line_end` if the line
   did not fit. */
read_line:
        mov     $line, %ebp
1:      call    wait_rx
        call    take_byte
        jc      1b
        cmp     $'\n', %al
        je      2f
        cmp     $'\r', %al
        je      2f
        cmp     $line_end, %ebp
        je      1b
        mov     %al, (%ebp)
        inc     %ebp
        jmp     1b
2:      ret

/* Commands are called with the argument in esi, its length in ecx. */
        .macro  command name, handler
        .byte   end\@ - name\@
        .long   \handler
name\@: .ascii  "\name"
end\@:
        .endm

        .section .rodata
commands:
        command "echo", echo
        command "flood", flood
        command "tick", tick
        command "loop", run_loop
        command "bench", bench
        command "reset", reset
        command "poweroff", poweroff
        command "panic", panic
        command "triplefault", triple_fault
        command "hang", hang
        command "machine", machine_name
        command "help", help
        .byte   0
        .text

echo:
        call    write
        /* Fall through. */
newline:
        print   "\r\n"
        ret

help:
        print   "echo TEXT\r\nflood N\r\ntick MS\r\nloop N\r\nbench N\r\nreset\r\npoweroff\r\npanic\r\ntriplefault\r\nhang\r\nmachine\r\nhelp\r\n"
        ret

flood:
        call    number
        jc      bad_number
        mov     %eax, %edi
1:      mov     $pattern, %esi
        mov     $pattern_end - pattern, %ecx
        cmp     %ecx, %edi
        jae     2f
        mov     %edi, %ecx
2:      sub     %ecx, %edi
        call    write
        test    %edi, %edi
        jnz     1b
        jmp     newline

        .section .rodata
pattern:
        .ascii  "0123456789abcdef"
pattern_end:
        .text

run_loop:
        call    number
        jc      bad_number
        mov     %eax, %edi
        mov     %eax, %ecx
        jecxz   2f
1:      dec     %ecx
        jnz     1b
2:      print   "loop "
        mov     %edi, %eax
        call    write_number
        print   " done\r\n"
        ret

/* Every turn reads and writes every word, and what is written depends on all
   that was read: an accelerator that errs is told by the sum. */
bench:
        call    number
        jc      bad_number
        push    %eax
        mov     %eax, %ebp
        mov     $BENCH_START, %edi
        mov     $BENCH_WORDS, %ecx
        xor     %eax, %eax
        rep stosl
        inc     %eax                    /* the sum */
1:      sub     $1, %ebp
        jc      3f
        mov     $BENCH_START, %edi
        mov     $BENCH_WORDS, %ecx
2:      add     (%edi), %eax
        rol     $1, %eax
        stosl
        dec     %ecx
        jnz     2b
        jmp     1b
3:      xchg    %eax, (%esp)
        push    %eax
        print   "bench "
        pop     %eax
        call    write_number
        print   " "
        pop     %eax
        call    write_number
        jmp     newline

/* ------------------------------------------------------------ tick */

/*
 * Time is that of PIT channel 0, the one clock of all the machines: as a
 * one-shot (mode 0), it wakes the processor and counts on below zero, so that
 * a late awakening is measured and made up for.  Shots are half of the
 * counter's range at most, which leaves the other half for being late.
 *
 * edi has the counts that are left of this tick, ebp those of a whole tick.
 */
tick:
        call    number
        jc      bad_number
        test    %eax, %eax
        jz      bad_number
        cmp     $TICK_MAX, %eax
        ja      bad_number
        mov     $PIT_HZ, %edx
        mul     %edx
        mov     $1000, %ecx
        div     %ecx
        mov     %eax, %ebp
        mov     %eax, %edi
        movl    $0, ticks
        call    arm_timer

1:      mov     $UART_LSR, %edx
        in      %dx, %al
        test    $LSR_RX, %al
        jz      2f
        call    take_byte
        jnc     3f
2:      out8    IER_RX, UART_IER
        sti
        hlt
        cli
        call    lap
        test    %edi, %edi
        jg      1b
        add     %ebp, %edi
        incl    ticks
        print   "tick "
        mov     ticks, %eax
        call    write_number
        call    newline
        /* Printing may have slept, and so have used up the timer's interrupt. */
        call    lap
        jmp     1b
3:      ret

/* Takes off edi what has passed since the timer was last armed, and arms it
   again.  (That the shot is over is never asked: QEMU rounds, and may interrupt
   one count early.) */
lap:
        out8    0x00, PIT_MODE          /* latch channel 0 */
        in      $PIT_CHANNEL0, %al
        mov     %al, %ah
        in      $PIT_CHANNEL0, %al
        xchg    %al, %ah
        mov     shot, %ecx
        sub     %eax, %ecx
        movzwl  %cx, %ecx
        sub     %ecx, %edi
        /* Fall through. */
arm_timer:
        mov     %edi, %ecx
        cmp     $1, %ecx
        jge     1f
        mov     $1, %ecx
1:      cmp     $0x8000, %ecx
        jle     2f
        mov     $0x8000, %ecx
2:      mov     %ecx, shot
        out8    0x30, PIT_MODE
        mov     %cl, %al
        out     %al, $PIT_CHANNEL0
        mov     %ch, %al
        out     %al, $PIT_CHANNEL0
        ret

/* ------------------------------------------------------------ the machine */

/*
 * The host bridge tells pc from q35; the two machines without PCI ports are
 * told apart by the keyboard controller, which microvm does not have.
 */
detect:
        mov     $PCI_HOST_BRIDGE, %eax
        call    pci_read
        mov     $pc, %edx
        cmp     $0x12378086, %eax
        je      1f
        mov     $q35, %edx
        cmp     $0x29c08086, %eax
        je      1f
        mov     $isapc, %edx
        in      $KEYBOARD_COMMAND, %al
        cmp     $0xff, %al
        jne     1f
        mov     $microvm, %edx
1:      mov     %edx, machine
        ret

        .macro  name_of text
        .byte   end\@ - name\@
name\@: .ascii  "\text"
end\@:
        .endm

        .section .rodata
pc:     name_of "pc"
q35:    name_of "q35"
microvm: name_of "microvm"
isapc:  name_of "isapc"
        .text

machine_name:
        mov     machine, %esi
        movzbl  (%esi), %ecx
        inc     %esi
        call    write
        jmp     newline

/*
 * One way of resetting for each machine, not one after another: the reset is
 * only requested, and a second request made before it is carried out could
 * reset the machine twice.
 */
reset:
        mov     machine, %eax
        cmp     $microvm, %eax
        je      triple_fault
        cmp     $isapc, %eax
        je      1f
        out8    0x02, RESET_CONTROL
        out8    0x06, RESET_CONTROL
        jmp     halt
1:      out8    0xfe, KEYBOARD_COMMAND
        jmp     halt

triple_fault:
        lidt    no_idt
        int3

hang:
        print   "hanging\r\n"
        /* Fall through. */
halt:
        cli
        hlt
        jmp     halt            /* an NMI gets here */

poweroff:
        mov     machine, %eax
        cmp     $pc, %eax
        je      poweroff_pc
        cmp     $q35, %eax
        je      poweroff_q35
        cmp     $microvm, %eax
        je      poweroff_microvm
no_poweroff:
        print   "error: no way to power off\r\n"
        ret

poweroff_pc:
        mov     $PIIX4_PM, %eax
        call    pci_read
        cmp     $0x71138086, %eax       /* not there with acpi=off */
        jne     no_poweroff
        mov     $PIIX4_PM + 0x40, %eax
        mov     $PM_BASE + 1, %ecx
        call    pci_write
        mov     $PIIX4_PM + 0x80, %eax
        mov     $0x01, %ecx
        jmp     power_off

poweroff_q35:
        mov     $ICH9_LPC + 0x40, %eax
        mov     $PM_BASE + 1, %ecx
        call    pci_write
        mov     $ICH9_LPC + 0x44, %eax
        mov     $0x80, %ecx
        /* Fall through. */
power_off:
        call    pci_write
        mov     $PM_BASE + 4, %edx
        mov     $0x2000, %eax           /* SLP_EN; QEMU's sleep type 0 is S5 */
        out     %ax, %dx
        jmp     halt

poweroff_microvm:
        movb    $0x34, GED_SLEEP_CONTROL        /* SLP_EN, sleep type 5 */
        jmp     halt

/* Returns to the prompt, for QEMU may be told to let a panicked guest go on. */
panic:
        mov     $PVPANIC, %edx
        in      %dx, %al
        cmp     $0xff, %al
        je      1f
        mov     $1, %al
        out     %al, %dx
        ret
1:      print   "error: no pvpanic device\r\n"
        ret

pci_read:
        mov     $PCI_ADDRESS, %edx
        out     %eax, %dx
        mov     $PCI_DATA, %edx
        in      %dx, %eax
        ret

pci_write:
        mov     $PCI_ADDRESS, %edx
        out     %eax, %dx
        mov     $PCI_DATA, %edx
        mov     %ecx, %eax
        out     %eax, %dx
        ret

/* ------------------------------------------------------------ numbers */

/* Reads the decimal number of ecx digits at esi to eax; carry means that it is
   none, or too big. */
number:
        xor     %eax, %eax
        jecxz   2f
        mov     $10, %edi
1:      movzbl  (%esi), %ebx
        inc     %esi
        sub     $'0', %ebx
        cmp     $9, %ebx
        ja      2f
        mul     %edi
        jc      2f
        add     %ebx, %eax
        jc      2f
        loop    1b
        clc
        ret
2:      stc
        ret

bad_number:
        print   "error: bad number\r\n"
        ret

write_number:
        mov     $digits_end, %esi
        mov     $10, %ecx
1:      xor     %edx, %edx
        div     %ecx
        add     $'0', %dl
        dec     %esi
        mov     %dl, (%esi)
        test    %eax, %eax
        jnz     1b
        mov     $digits_end, %ecx
        sub     %esi, %ecx
        /* Fall through. */

/* ------------------------------------------------------------ serial port */

/* Writes ecx bytes at esi; changes eax, ebx, edx too.  The transmitter says that
   it is ready only when its FIFO is empty, and can then be given as many bytes
   as that holds. */
write:
        jecxz   2f
        call    wait_tx
        push    %ecx
        cmp     $UART_FIFO, %ecx
        jbe     1f
        mov     $UART_FIFO, %ecx
1:      sub     %ecx, (%esp)
        mov     $UART, %edx
        rep outsb
        pop     %ecx
        jmp     write
2:      ret

/*
 * These wait for the receiver and for the transmitter.  Only the interrupt that
 * is waited for is enabled: the line is shared and the controller sees but its
 * edges, so bytes not yet read would hide that the transmitter is ready.
 */
wait_rx:
        mov     $LSR_RX << 8 | IER_RX, %ebx
        jmp     wait
wait_tx:
        mov     $LSR_TX << 8 | IER_TX, %ebx
wait:
        mov     $UART_LSR, %edx
        in      %dx, %al
        test    %bh, %al
        jnz     1f
        mov     $UART_IER, %edx
        mov     %bl, %al
        out     %al, %dx
        sti
        hlt
        cli
        jmp     wait
1:      ret

/* Takes the received byte to al; carry means that it is the \n of \r\n, which
   the \r has stood for. */
take_byte:
        mov     $UART, %edx
        in      %dx, %al
        mov     %al, %ah
        xchg    %ah, last_byte
        cmp     $'\r' << 8 | '\n', %ax
        je      1f
        clc
        ret
1:      stc
        ret

/* ------------------------------------------------------------ tables */

wake:
        iret

        .macro  gate handler
        .word   \handler - image, CODE, 0x8e00, 0x000f
        .endm

        .balign 8
idt:
        .fill   2, 8, 0
        gate    wake                    /* NMI */
        .fill   PIC_VECTORS - 3, 8, 0
        .rept   8
        gate    wake
        .endr
idt_end:

/* With the accessed bits set, since the processor cannot set them in a ROM. */
gdt:
        .quad   0
        .quad   0x00cf9b000000ffff
        .quad   0x00cf93000000ffff
gdt_end:

gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt
idt_pointer:
        .word   idt_end - idt - 1
        .long   idt
no_idt: .word   0
        .long   0

/* ------------------------------------------------------------ memory */

        .bss
        .balign 4096
page_directory: .skip 4096
page_table:     .skip 4096
stack:          .skip 4096
stack_top:
machine:        .skip 4
ticks:          .skip 4
shot:           .skip 4
last_byte:      .skip 1
digits:         .skip 10
digits_end:
line:           .skip LINE_MAX + 1
line_end:
