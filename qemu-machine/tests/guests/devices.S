# A boot sector that does what it is told on the serial port, after a prompt. A byte
# below 128 goes to the debug console (port 0xe9), and after a line feed there is the
# prompt again; another one, less 128, goes to isa-debug-exit at port 0xf4.
        .code16
        .intel_syntax noprefix
        .org 0
start:  mov dx, 0x3fd
full:   in al, dx
        test al, 0x20
        jz full
        mov dl, 0xf8
        mov al, '>'
        out dx, al
next:   mov dx, 0x3fd           # until something comes
        in al, dx
        test al, 1
        jz next
        mov dl, 0xf8
        in al, dx
        test al, 0x80
        jnz exit
        out 0xe9, al
        cmp al, 10
        je start
        jmp next
exit:   and al, 0x7f
        out 0xf4, al
        jmp next
        .org 510
        .word 0xaa55
