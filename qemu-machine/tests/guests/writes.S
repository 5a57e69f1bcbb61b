# A boot sector that writes a sector of its disk, by way of the BIOS, and then
# says 'w' on the serial port, or 'e' where the disk did not take it.
        .code16
        .intel_syntax noprefix
        .org 0
start:  xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        mov bx, 0x7c00          # from here
        mov cx, 2               # to the disk's second sector
        mov dx, 0x80
        mov ax, 0x301
        int 0x13
        mov al, 'w'
        jnc say
        mov al, 'e'
say:    mov dx, 0x3f8
        out dx, al
stay:   hlt
        jmp stay
        .org 510
        .word 0xaa55
