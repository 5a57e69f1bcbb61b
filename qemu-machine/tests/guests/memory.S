# A boot sector that rewrites 512 KiB of memory and 64 sectors of its disk, again and
# again, and compares all of it with what it wrote before. It prints '.' after each
# pass; the first word or sector that differs makes it print "broken" and halt.
#
# The memory is so small that it stays in TCG's TLB, where a lost dirty bit is never
# made up for; 32 MiB that it fills once make a migration take long enough.
        .code16
        .intel_syntax noprefix
        .org 0
        .set BASE, 0x7c00
        .set BEGIN, 0x200000
        .set END, 0x280000
        .set FILLED, 0x2200000
start:  cli
        xor ax, ax
        mov ds, ax
        lgdt [table - start + BASE]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        .byte 0x66, 0xea        # a far jump, to 32 bits
        .long wide - start + BASE
        .word 8
        .code32
wide:   mov ax, 16
        mov ds, ax
        mov ss, ax
        mov esp, BASE
        xor ebx, ebx            # how many passes are done
        mov edi, BEGIN
fill:   mov [edi], edi
        add edi, 4
        cmp edi, FILLED
        jb fill
        mov al, '>'
        call put
        call write
pass:   mov al, 0x20            # the sector of the pass before holds its number
        call disk
        mov ecx, 128
take:   in eax, dx
        cmp eax, ebx
        jne broken
        loop take
        mov edi, BEGIN
each:   lea eax, [edi + ebx]    # and each word its address and that number
        cmp [edi], eax
        jne broken
        inc eax
        mov [edi], eax
        add edi, 4
        cmp edi, END
        jb each
        inc ebx
        call write
        mov al, '.'
        call put
        jmp pass
write:  mov al, 0x30
        call disk
        mov eax, ebx
        mov ecx, 128
send:   out dx, eax
        loop send
        ret
disk:   mov ah, al              # begins a transfer of the sector of this pass
        mov dx, 0x1f7
busy:   in al, dx
        test al, 0x80
        jnz busy
        mov dl, 0xf6
        mov al, 0xe0
        out dx, al
        mov dl, 0xf2
        mov al, 1
        out dx, al
        inc edx
        mov al, bl
        and al, 63
        inc al
        out dx, al
        inc edx
        xor al, al
        out dx, al
        inc edx
        out dx, al
        mov dl, 0xf7
        mov al, ah
        out dx, al
ready:  in al, dx
        test al, 0x80
        jnz ready
        test al, 0x21           # it has failed
        jnz broken
        test al, 8
        jz ready
        mov dl, 0xf0
        ret
broken: mov esi, offset text - start + BASE
next:   lodsb
        call put
        cmp al, 10
        jne next
halt:   hlt
        jmp halt
put:    push eax
        mov dx, 0x3fd
full:   in al, dx
        test al, 0x20
        jz full
        pop eax
        mov dl, 0xf8
        out dx, al
        ret
text:   .ascii "broken\n"
        .balign 8
table:  .word 23                # the null descriptor's room is free
        .long table - start + BASE
        .word 0
        .quad 0x00cf9a000000ffff
        .quad 0x00cf92000000ffff
        .org 510
        .word 0xaa55
