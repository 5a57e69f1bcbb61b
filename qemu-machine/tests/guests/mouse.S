# A boot sector that tells on the serial port what its mice tell it: 'r' and each byte
# of the PS/2 mouse; 'a', the buttons and the place of the tablet that PCs of QEMU
# have beside it (vmmouse).
        .code16
        .intel_syntax noprefix
        .org 0
start:  xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7c00
        cli
        mov ebx, 0x45414552     # the tablet: on, which it answers by a word
        mov cx, 41
        call ask
        mov ebx, 1
        mov cx, 39
        call ask
        mov ebx, 0x53424152     # and places, please
        mov cx, 41
        call ask
        mov al, 0xa8            # the PS/2 mouse: on
        out 0x64, al
        mov al, 0xd4
        out 0x64, al
        mov al, 0xf4            # and tell
        out 0x60, al
        mov al, '>'
        call put
next:   in al, 0x64             # a byte of the mouse?
        and al, 0x21
        cmp al, 0x21
        jne tablet
        mov al, 'r'
        call put
        in al, 0x60
        call hex
tablet: xor ebx, ebx
        mov cx, 40              # four words of the tablet?
        call ask
        cmp ax, 0xffff          # no tablet is there
        je next
        cmp ax, 4
        jb next
        mov ebx, 4
        mov cx, 39
        call ask
        push ecx
        push ebx
        push eax
        mov al, 'a'
        call put
        pop eax
        call hex                # buttons
        pop eax
        call hex2               # from the left
        pop eax
        call hex2               # from the top
        jmp next
ask:    mov eax, 0x564d5868
        mov dx, 0x5658
        in eax, dx
        ret
hex2:   push ax
        mov al, ah
        call hex
        pop ax
hex:    push ax
        shr al, 4
        call digit
        pop ax
        and al, 15
digit:  add al, '0'
        cmp al, '9'
        jbe put
        add al, 39
put:    push ax
        mov dx, 0x3fd
full:   in al, dx
        test al, 0x20
        jz full
        pop ax
        mov dl, 0xf8
        out dx, al
        ret
        .org 510
        .word 0xaa55
