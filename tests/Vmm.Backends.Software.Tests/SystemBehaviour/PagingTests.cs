using Iced.Intel;
using Vmm.Core.Backends;
using Vmm.Core.X86;
using Xunit;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Backends.Software.Tests.SystemBehaviour;

/// <summary>Page tables of every kind, permissions and error codes (Intel SDM vol. 3, chapter 5).</summary>
public abstract class PagingTests<TEngine> where TEngine : IEngine
{
    private const ulong Page = 0x10000, Target = 0x11000, NoExecute = 1UL << 63;
    private const uint Present = 1, Write = 2, User = 4, Reserved = 8, Fetch = 16, Key = 32;

    [Theory]
    [InlineData(0UL, false, false, 0u)]
    [InlineData(0UL, true, false, Write)]
    [InlineData(0UL, true, true, Write | User)]
    [InlineData(1UL, false, true, Present | User)]
    [InlineData(5UL, true, true, Present | Write | User)]
    [InlineData(5UL, true, false, Present | Write)]
    [InlineData(7UL | 1UL << 51, false, false, Present | Reserved)]
    public void Access_Denied_HasErrorCodeAndAddress(ulong bits, bool write, bool user, uint error)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            if (write) a.mov(__byte_ptr[rbx], al);
            else a.mov(al, __byte_ptr[rbx]);
        }, user: user).SetPage(Page, bits == 0 ? 0 : Page | bits);
        guest[3] = Page + 0x123;
        Assert.Equal(new Trap(14, error, SystemGuest.Start), guest.RunToTrap());
        Assert.Equal(Page + 0x123, guest.State.Cr2);
    }

    // The first page of the area is missing, the header is in the second. A bit of XSTATE_BV that XCR0 has not is found before the page is missed.
    [Theory]
    [InlineData(3UL, 14)]
    [InlineData(1UL << 40, 13)]
    public void Xrstor_MissingPageInFrontOfTheHeader_FaultsForTheHeaderFirst(ulong present, int vector)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(eax, 7);
            a.xor(edx, edx);
            a.xrstor64(__[rbx]);
        }).SetPage(Page, 0);
        guest.State.Cr4 |= 1 << 18;
        guest.State.Xcr0 = 7;
        guest.Write(Target + 0x100, present);
        guest[3] = Target - 0x100;
        Assert.Equal(vector, guest.RunToTrap().Vector);
    }

    [Fact]
    public void WriteProtectOff_SupervisorWritesReadOnlyPage()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(__byte_ptr[rbx], 9)).SetPage(Page, Page | 1);
        guest[3] = Page;
        guest.State.Cr0 &= ~(1UL << 16);
        guest.RunToEnd();
        Assert.Equal(9, guest.Read<byte>(Page));
    }

    [Theory]
    [InlineData(false, 0x20UL)]
    [InlineData(true, 0x60UL)]
    public void AccessedAndDirty_AreSetByUse(bool write, ulong bits)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            if (write) a.mov(__byte_ptr[rbx], al);
            else a.mov(al, __byte_ptr[rbx]);
        });
        guest[3] = Page;
        guest.RunToEnd();
        Assert.Equal(Page | 7 | bits, guest.Read<ulong>(SystemGuest.Entry(Page)));
        Assert.Equal(0x20UL, guest.Read<ulong>(SystemGuest.Tables) & 0x60);
    }

    [Fact]
    public void Dirty_ReadThenWrite_IsSetByTheWrite()
    {
        using var guest = new SystemGuest<TEngine>(64, a => { a.mov(al, __byte_ptr[rbx]); a.mov(__byte_ptr[rbx], al); });
        guest[3] = Page;
        guest.RunToEnd();
        Assert.Equal(0x60UL, guest.Read<ulong>(SystemGuest.Entry(Page)) & 0x60);
    }

    [Theory]
    [InlineData(NoExecute | 7, 0UL, false, Present | Fetch)]
    [InlineData(7UL, 1UL << 20, false, Present | Fetch)]
    [InlineData(3UL, 0UL, true, Present | Fetch | User)]
    [InlineData(0UL, 0UL, false, Fetch)]
    public void Fetch_Denied_HasErrorCode(ulong bits, ulong cr4, bool user, uint error)
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.jmp(rbx), user: user).SetPage(Page, bits == 0 ? 0 : Page | bits);
        // With SMEP the kernel's own pages must be kernel pages.
        for (ulong page = 0; page < 512; page++)
        {
            if (page != Page / 4096 && !user) guest.SetPage(page * 4096, page * 4096 | 3);
        }

        guest[3] = Page;
        guest.State.Cr4 |= cr4;
        Assert.Equal(new Trap(14, error, Page), guest.RunToTrap());
    }

    [Theory]
    [InlineData(true), InlineData(false)]
    public void SupervisorAccessPrevention_FollowsStacAndClac(bool allowed)
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) =>
        {
            a.stac();
            a.mov(al, __byte_ptr[rbx]);
            if (!allowed) a.clac();
            mark("again");
            a.mov(al, __byte_ptr[rbx]);
        });
        for (ulong page = 0; page < 512; page++)
        {
            if (page != Page / 4096) guest.SetPage(page * 4096, page * 4096 | 3);
        }

        guest[3] = Page;
        guest.State.Cr4 |= 1 << 21;
        if (allowed) guest.RunToEnd();
        else Assert.Equal(new Trap(14, Present, guest["again"]), guest.RunToTrap());
    }

    [Theory]
    [InlineData(0x4u, false, Present | Key), InlineData(0x8u, true, Present | Write | Key), InlineData(0x8u, false, 0u)]
    public void ProtectionKeys_DenyByPkru(uint pkru, bool write, uint error)
    {
        using var guest = new SystemGuest<TEngine>(64, (a, mark) =>
        {
            a.mov(eax, pkru);
            a.xor(ecx, ecx);
            a.xor(edx, edx);
            a.wrpkru();
            mark("access");
            if (write) a.mov(__byte_ptr[rbx], al);
            else a.mov(al, __byte_ptr[rbx]);
        }).SetPage(Page, Page | 7 | 1UL << 59);
        guest[3] = Page;
        guest.State.Cr4 |= 1 << 22;
        if (error == 0) guest.RunToEnd();
        else Assert.Equal(new Trap(14, error, guest["access"]), guest.RunToTrap());
    }

    [Theory]
    [InlineData(0x00), InlineData(0x08), InlineData(0x20)]
    public void UserModeInstructionPrevention_Ring3_Faults(byte modrm)
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.db(0x0F, (byte)(modrm == 0x20 ? 1 : 0), (byte)(modrm | 0xC0)), user: true);
        guest.State.Cr4 |= 1 << 11;
        Assert.Equal(new Trap(13, 0, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void Invlpg_DropsAChangedTranslation()
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(al, __byte_ptr[rbx]);
            a.mov(__qword_ptr[rsi], rdi);
            a.invlpg(__byte_ptr[rbx]);
            a.mov(ah, __byte_ptr[rbx]);
        });
        guest.Write<byte>(Page, 1);
        guest.Write<byte>(Target, 2);
        (guest[3], guest[6], guest[7]) = (Page, SystemGuest.Entry(Page), Target | 7);
        guest.RunToEnd();
        Assert.Equal(0x0201UL, guest[0] & 0xFFFF);
    }

    [Theory]
    [InlineData(false, 2), InlineData(true, 1)]
    public void Cr3Write_KeepsGlobalPagesOnly(bool global, byte seen)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(al, __byte_ptr[rbx]);
            a.mov(__qword_ptr[rsi], rdi);
            a.mov(rcx, cr3);
            a.mov(cr3, rcx);
            a.mov(al, __byte_ptr[rbx]);
        }).SetPage(Page, Page | 7 | (global ? 0x100UL : 0));
        guest.State.Cr4 |= 0x80;
        guest.Write<byte>(Page, 1);
        guest.Write<byte>(Target, 2);
        (guest[3], guest[6], guest[7]) = (Page, SystemGuest.Entry(Page), Target | 7);
        guest.RunToEnd();
        Assert.Equal(seen, (byte)guest[0]);
    }

    [Theory]
    [InlineData(0UL, 0UL), InlineData(1UL, 0UL), InlineData(2UL, 0UL), InlineData(3UL, 0UL)]
    public void Invpcid_EveryType_DropsAChangedTranslation(ulong type, ulong pcid)
    {
        using var guest = new SystemGuest<TEngine>(64, a =>
        {
            a.mov(al, __byte_ptr[rbx]);
            a.mov(__qword_ptr[rsi], rdi);
            a.invpcid(rcx, __xmmword_ptr[rbp]);
            a.mov(al, __byte_ptr[rbx]);
        });
        guest.Write<byte>(Target, 2);
        (guest[1], guest[3], guest[5], guest[6], guest[7]) = (type, Page, 0x12000, SystemGuest.Entry(Page), Target | 7);
        guest.Write(0x12000, pcid);
        guest.Write(0x12008, Page);
        guest.RunToEnd();
        Assert.Equal(2, (byte)guest[0]);
    }

    [Theory]
    [InlineData(4UL, 0UL, 0UL), InlineData(0UL, 0x1000UL, 0UL), InlineData(0UL, 0UL, 1UL << 63), InlineData(1UL, 1UL, 0UL)]
    public void Invpcid_BadDescriptor_IsProtectionFault(ulong type, ulong pcid, ulong address)
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.invpcid(rcx, __xmmword_ptr[rbp]));
        (guest[1], guest[5]) = (type, 0x12000);
        guest.Write(0x12000, pcid);
        guest.Write(0x12008, address);
        Assert.Equal(new Trap(13, 0, SystemGuest.Start), guest.RunToTrap());
    }

    [Fact]
    public void Store_AcrossPages_SecondMissing_WritesNothing()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(__qword_ptr[rbx], rax)).SetPage(Target, 0);
        (guest[0], guest[3]) = (ulong.MaxValue, Target - 3);
        Assert.Equal(new Trap(14, Write, SystemGuest.Start), guest.RunToTrap());
        Assert.Equal((Target, 0U), (guest.State.Cr2, guest.Read<uint>(Target - 4)));
    }

    [Fact]
    public void Store_AcrossPages_LandsInBoth()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(__qword_ptr[rbx], rax)).SetPage(Target, 0x40000 | 7);
        (guest[0], guest[3]) = (0x1122334455667788, Target - 3);
        guest.RunToEnd();
        Assert.Equal((0x667788U, 0x1122334455UL), (guest.Read<uint>(Target - 3) & 0xFFFFFF, guest.Read<ulong>(0x40000)));
    }

    [Fact]
    public void LockedAdd_AcrossPages_IsDone()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.@lock.add(__dword_ptr[rbx], ecx)).SetPage(Target, 0x40000 | 7);
        (guest[1], guest[3]) = (0x01020304, Target - 2);
        guest.RunToEnd();
        Assert.Equal((0x0304, 0x0102), (guest.Read<ushort>(Target - 2), guest.Read<ushort>(0x40000)));
    }

    [Fact]
    public void Fetch_AcrossPages_SecondMissing_FaultsAtTheSecond()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.jmp(rbx)).SetPage(Target, 0);
        guest.Bytes(Target - 2, 0x81, 0xC0);
        guest[3] = Target - 2;
        Assert.Equal(new Trap(14, Fetch, Target - 2), guest.RunToTrap());
        Assert.Equal(Target, guest.State.Cr2);
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void TwoLevels_SmallAndLargePages_Translate(bool large)
    {
        using var guest = new SystemGuest<TEngine>(32, a => { a.mov(eax, __dword_ptr[ebx]); a.mov(__dword_ptr[ebx + 4], eax); });
        guest.Write(0x200000, 0x83U | 0x0);
        if (large)
        {
            guest.Write(0x200004, 0x83U);
        }
        else
        {
            guest.Write(0x200004, 0x201000U | 3);
            guest.Write<uint>(0x201000 + 0x12 * 4, (uint)Page | 3);
        }

        var linear = large ? 0x400000UL + Page : 0x412000UL;
        guest.Write(Page, 0xCAFEU);
        (guest.State.Cr3, guest.State.Cr4, guest[3]) = (0x200000, 0x610, linear);
        guest.State.Cr0 |= 1UL << 31;
        guest.RunToEnd();
        Assert.Equal(0xCAFEU, guest.Read<uint>(Page + 4));
        Assert.Equal(0x60U, guest.Read<uint>(large ? 0x200004UL : 0x201048UL) & 0x60);
    }

    [Fact]
    public void TwoLevels_UserReadOfKernelPage_Faults()
    {
        using var guest = new SystemGuest<TEngine>(32, a => a.mov(eax, __dword_ptr[0x412000]), user: true);
        guest.Write(0x200000, 0x87U);
        guest.Write(0x200004, 0x201007U);
        guest.Write<uint>(0x201000 + 0x12 * 4, (uint)Page | 3);
        (guest.State.Cr3, guest.State.Cr4) = (0x200000, 0x610);
        guest.State.Cr0 |= 1UL << 31;
        Assert.Equal(new Trap(14, Present | User, SystemGuest.Start), guest.RunToTrap());
    }

    [Theory]
    [InlineData(0x1001UL, true), InlineData(0x1003UL, false), InlineData(0x8000_0000_0000_1001UL, false)]
    public void Pae_DirectoryPointers_AreCheckedWhenLoaded(ulong bits, bool good)
    {
        // The pointers are loaded by MOV to CR3; later writes to memory are not seen.
        using var guest = new SystemGuest<TEngine>(32, (a, mark) =>
        {
            a.mov(eax, 0x200000);
            mark("load");
            a.mov(cr3, eax);
            a.mov(__dword_ptr[0x200000], 0);
            a.mov(ebx, __dword_ptr[0x10000]);
        });
        for (ulong i = 0; i < 4; i++)
        {
            guest.State.Pdptes[i] = i == 0 ? 0x201001UL : 0;
            guest.Write(0x200000 + i * 8, i == 0 ? 0x200000UL | bits : 0);
        }

        guest.Write(0x201000, 0x83UL);
        guest.Write(0x201008, 0x200083UL);
        guest.Write(Page, 0xCAFEU);
        (guest.State.Cr3, guest.State.Cr4) = (0x200000, 0x630);
        guest.State.Cr0 |= 1UL << 31;
        if (good) Assert.Equal(0xCAFEUL, guest.RunToEnd()[3]);
        else Assert.Equal(new Trap(13, 0, guest["load"]), guest.RunToTrap());
    }

    [Fact]
    public void FiveLevels_AddressesAboveFortySevenBits_Translate()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(eax, __dword_ptr[rbx]));
        const ulong top = 0x310000;
        guest.Write(top, SystemGuest.Tables | 7);
        // Entry 1 of the top table: linear 2^48.
        guest.Write(top + 8, SystemGuest.Tables | 7);
        (guest.State.Cr3, guest.State.Cr4, guest[3]) = (top, guest.State.Cr4 | 1 << 12, (1UL << 48) + Page);
        guest.Write(Page, 0xCAFEU);
        guest.RunToEnd();
        Assert.Equal(0xCAFEUL, guest[0]);
    }

    [Fact]
    public void GigabytePage_Translates()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.mov(eax, __dword_ptr[rbx]));
        guest.Write(SystemGuest.Tables + 0x1008, 0x83UL);
        guest.Write(Page, 0xCAFEU);
        guest[3] = 0x40000000 + Page;
        guest.RunToEnd();
        Assert.Equal(0xCAFEUL, guest[0]);
    }

    [Fact]
    public void PageTables_OutsideMemory_ShutDown()
    {
        using var guest = new SystemGuest<TEngine>(64, a => a.nop());
        guest.State.Cr3 = 0x3FFF_FFFF_F000;
        Assert.Equal(VcpuStopKind.Shutdown, guest.Run().Kind);
    }
}
