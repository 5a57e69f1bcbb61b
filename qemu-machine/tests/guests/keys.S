# A boot sector with a red bar on its screen and a prompt. When a byte has come on
# the serial port, it begins to read the keyboard, by way of the BIOS, and shows
# each character on the screen and on the serial port.
        .code16
        .intel_syntax noprefix
        .org 0
start:  xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7c00
        mov ax, 0xb800
        mov es, ax
        mov di, 3840            # the last row: ten cells, red
        mov ax, 0x4020
        mov cx, 10
        cld
        rep stosw
        mov al, '>'
        call put
        cli
go:     mov dx, 0x3fd           # until something comes on the serial port
        in al, dx
        test al, 1
        jz go
        mov dl, 0xf8
        in al, dx
        sti
next:   mov ah, 0               # a key
        int 0x16
        call put
        jmp next
put:    mov ah, 0xe             # on the screen
        mov bx, 7
        int 0x10
        push ax
        mov dx, 0x3fd           # and on the serial port
full:   in al, dx
        test al, 0x20
        jz full
        pop ax
        mov dl, 0xf8
        out dx, al
        ret
        .org 510
        .word 0xaa55
